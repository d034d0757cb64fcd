//! The databases: D1's migrations and each person's tables in memory, and every statement in the code prepared against them.

use rusqlite::Connection;
use std::fs;
use std::path::{Path, PathBuf};

/// Where statements for D1 stand.
const DIRECTORY: &str = "src/directory.rs";

/// Where the steps of a person's tables stand.
const SCHEMA: &str = "src/user/schema";

/// How a statement begins.
const VERBS: [&str; 5] = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(root().join(&path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

/// D1's migrations, in the order in which they are applied.
fn migrations() -> Vec<String> {
    steps("migrations")
}

/// A folder's numbered steps, in their order.
fn steps(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).expect("the steps are there");
    let names = entries.map(|entry| entry.expect("they can be read").file_name());
    let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    names.sort();
    names
}

/// D1 as it is after every migration.
fn d1() -> Connection {
    let database = Connection::open_in_memory().expect("SQLite opens in memory");
    for name in migrations() {
        let sql = text(format!("migrations/{name}"));
        let done = database.execute_batch(&sql);
        done.unwrap_or_else(|error| panic!("migrations/{name}: {error}"));
    }
    database
}

/// One person's object as it is after every step, and after the one statement that makes the list of steps.
fn object() -> Connection {
    let database = Connection::open_in_memory().expect("SQLite opens in memory");
    let list = "CREATE TABLE schema_steps (step INTEGER PRIMARY KEY) STRICT";
    database.execute(list, []).expect("the list is made");
    for name in steps(SCHEMA) {
        let made = database.execute_batch(&text(format!("{SCHEMA}/{name}")));
        made.unwrap_or_else(|error| panic!("{SCHEMA}/{name}: {error}"));
    }
    database
}

/// Everything that a database is made of.
fn shape(database: &Connection) -> Vec<String> {
    let sql =
        "SELECT type || ' ' || name || ': ' || coalesce(sql, '') FROM sqlite_schema ORDER BY 1";
    let mut query = database.prepare(sql).expect("SQLite describes itself");
    let rows = query.query_map([], |row| row.get(0)).expect("it has rows");
    rows.map(|row| row.expect("a row of text")).collect()
}

/// The string literals of a Rust file before its tests, as the program sees them.
fn literals(source: &str) -> Vec<String> {
    let mut rest = source.split("#[cfg(test)]").next().unwrap_or_default();
    let mut found = Vec::new();
    while let Some(at) = rest.find(['"', '\'', '/']) {
        let (before, from) = rest.split_at(at);
        rest = if from.starts_with("//") {
            from.split_once('\n').map_or("", |(_, next)| next)
        } else if let Some(after) = from.strip_prefix("'\"'") {
            after // a quote as a character opens nothing
        } else if let Some(inside) = from.strip_prefix('"') {
            let (literal, after) = literal(before, inside);
            found.push(literal);
            after
        } else {
            &from[1..]
        };
    }
    found
}

/// A string literal from behind its first quote, raw where an `r` stands before it, and what follows it.
fn literal<'a>(before: &str, inside: &'a str) -> (String, &'a str) {
    let bare = before.trim_end_matches('#');
    if !bare.ends_with('r') {
        return quoted(inside);
    }
    let end = format!("\"{}", "#".repeat(before.len() - bare.len()));
    let (literal, after) = inside.split_once(&end).expect("a raw string ends");
    (literal.to_owned(), after)
}

/// An ordinary string literal from behind its first quote, and what follows it.
fn quoted(text: &str) -> (String, &str) {
    let mut literal = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '"' => return (literal, rest.as_str()),
            '\\' => match rest.next() {
                Some('\n') => rest = rest.as_str().trim_start().chars(),
                Some('n') => literal.push('\n'),
                Some(c) => literal.push(c),
                None => break,
            },
            c => literal.push(c),
        }
    }
    panic!("a string does not end: {text:.60}")
}

fn statements(source: &str) -> Vec<String> {
    let begins = |literal: &String| {
        VERBS
            .iter()
            .any(|verb| literal.trim_start().starts_with(verb))
    };
    literals(source).into_iter().filter(begins).collect()
}

/// Each statement that a database does not accept, and why.
fn refused(database: &Connection, statements: &[String]) -> Vec<String> {
    let why = |sql: &String| Some(format!("{sql}\n  {}", database.prepare(sql).err()?));
    statements.iter().filter_map(why).collect()
}

/// The statements of `src/directory.rs`; `{owner}` stands for the subquery that is a literal of its own there.
fn of_the_directory() -> Vec<String> {
    let source = text(DIRECTORY);
    let owner = literals(&source)
        .into_iter()
        .find(|literal| literal.starts_with("(SELECT ") && literal.contains("role = 'owner'"))
        .expect("the directory says who the owner is");
    let whole = |sql: String| sql.replace("{owner}", &owner);
    statements(&source).into_iter().map(whole).collect()
}

/// The statements of the rest of `src/`, by file.
fn of_the_object() -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    collect(&root().join("src"), &mut found);
    found.retain(|(path, statements)| path != DIRECTORY && !statements.is_empty());
    found.sort();
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, Vec<String>)>) {
    for entry in fs::read_dir(folder).expect("our folders can be read") {
        let path = entry.expect("our folders can be read").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let short = path.strip_prefix(root()).expect("it lies below the root");
            found.push((short.display().to_string(), statements(&text(short))));
        }
    }
}

/// What `cargo xtask dev` tells D1, with values put in.
fn of_xtask() -> Vec<String> {
    let values = |sql: String| {
        sql.replace("{now}", "1000")
            .replace("{expires}", "601000")
            .replace("{hash}", "0a")
    };
    let source = text("xtask/src/database.rs");
    statements(&source).into_iter().map(values).collect()
}

#[test]
fn migrations_are_numbered_without_a_gap_and_run_in_order() {
    for (at, name) in migrations().iter().enumerate() {
        assert!(
            name.starts_with(&format!("{:04}_", at + 1)),
            "{name} is not migration {}",
            at + 1
        );
    }
    let tables = shape(&d1()).join("\n");
    for table in [
        "users",
        "identities",
        "sessions",
        "pairings",
        "bridges",
        "audit",
    ] {
        assert!(
            tables.contains(&format!("table {table}:")),
            "no table {table}"
        );
    }
}

#[test]
fn every_step_of_a_persons_tables_is_taken_in_order() {
    let source = text("src/user/db.rs");
    let taken: Vec<&str> = source
        .split("include_str!(\"schema/")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert_eq!(taken, steps(SCHEMA));
}

#[test]
fn every_statement_of_the_directory_fits_d1() {
    let statements = of_the_directory();
    assert!(statements.len() >= 15, "only {} found", statements.len());
    let refused = refused(&d1(), &statements);
    assert!(refused.is_empty(), "{DIRECTORY}:\n{}", refused.join("\n"));
}

#[test]
fn every_statement_of_the_object_fits_its_tables() {
    let (database, files) = (object(), of_the_object());
    let count: usize = files.iter().map(|(_, statements)| statements.len()).sum();
    assert!(count >= 40, "only {count} found");
    for (path, statements) in files {
        let room = path.starts_with("src/user/") || path.starts_with("src/tools/");
        assert!(
            room,
            "{path} holds SQL; rows are for src/user, src/tools and {DIRECTORY}"
        );
        let refused = refused(&database, &statements);
        assert!(refused.is_empty(), "{path}:\n{}", refused.join("\n"));
    }
}

#[test]
fn a_development_run_makes_one_owner_and_as_many_links_as_it_asks_for() {
    let (database, statements) = (d1(), of_xtask());
    assert_eq!(statements.len(), 2, "{statements:?}");
    for (runs, link) in [(1, "0a"), (2, "0b")] {
        for sql in &statements {
            let sql = sql.replace("'0a'", &format!("'{link}'"));
            database
                .execute(&sql, [])
                .unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        let counts: (u32, u32) = database
            .query_row(
                "SELECT (SELECT count(*) FROM users WHERE role = 'owner'), (SELECT count(*) FROM sign_in_links)",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .expect("they can be counted");
        assert_eq!(counts, (1, runs));
    }
}

#[test]
fn a_statement_that_fits_no_table_is_seen_however_it_is_written() {
    let source = r##"
        // "SELECT nothing FROM comments"
        let quote = '"';
        db.run("SELECT id FROM users WHERE id = \"x\" \
                AND role = ?", &[]);
        db.run(
            "DELETE FROM nowhere
             WHERE at < ?", &[]);
        db.run(r#"UPDATE users SET "nothing" = ?"#, &[]);
        tell("Select something");
        #[cfg(test)]
        "SELECT nothing FROM tests"
    "##;
    let found = statements(source);
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(
        found[0],
        "SELECT id FROM users WHERE id = \"x\" AND role = ?"
    );
    let refused = refused(&d1(), &found);
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused[0].starts_with("DELETE FROM nowhere"));
}
