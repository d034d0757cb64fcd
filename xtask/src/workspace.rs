//! Where things lie: the repository, its build products, its tools, and the state of a development run.

use std::{
    env, fs,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::process::{self, pause, program};

/// The folders that the commands work in.
pub(crate) struct Workspace {
    /// The repository.
    pub(crate) root: PathBuf,
    /// Cargo's own products.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// The workspace that this program was built from.
    pub(crate) fn find() -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here
            .parent()
            .context("xtask lies in a repository")?
            .to_owned();
        let mut metadata = program(cargo(), &root);
        metadata.args(["metadata", "--no-deps", "--format-version", "1"]);
        let metadata: serde_json::Value = serde_json::from_str(&process::capture(metadata)?)?;
        let target = metadata["target_directory"]
            .as_str()
            .context("cargo metadata names the target directory")?;
        Ok(Self {
            target: target.into(),
            root,
        })
    }

    /// What is installed for this repository alone.
    pub(crate) fn tools(&self) -> PathBuf {
        self.root.join(".tools")
    }

    /// What a development run keeps: the database, the objects, the bridge, the logs.
    pub(crate) fn state(&self) -> PathBuf {
        self.root.join(".bernard")
    }

    /// Where the output of one child goes.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.state().join("logs").join(format!("{name}.log"))
    }

    /// A cargo command in this workspace.
    pub(crate) fn cargo<const N: usize>(&self, args: [&str; N]) -> std::process::Command {
        let mut command = program(cargo(), &self.root);
        command.args(args);
        command
    }

    /// The bridge, as `cargo build -p local-bridge` leaves it.
    pub(crate) fn bridge(&self) -> PathBuf {
        self.target.join("debug/local-bridge")
    }
}

fn cargo() -> String {
    env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// The SHA-256 of files and of all files below folders, by path and content, in lower-case hex.
/// A path that does not exist counts as empty.
pub(crate) fn fingerprint(root: &Path, paths: &[&str]) -> Result<String> {
    let mut files = Vec::new();
    for path in paths {
        collect(&root.join(path), &mut files)?;
    }
    files.sort();
    let mut hash = hmac_sha256::Hash::new();
    for file in files {
        let content = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        let name = file
            .strip_prefix(root)
            .unwrap_or(&file)
            .to_string_lossy()
            .into_owned();
        hash.update(format!("{name}\n{}\n", content.len()));
        hash.update(content);
    }
    Ok(hex(&hash.finalize()))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("listing {}", path.display()))? {
            collect(&entry?.path(), files)?;
        }
    } else if path.is_file() {
        files.push(path.to_owned());
    }
    Ok(())
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

/// Whether a stamp holds exactly this text; a missing stamp holds nothing.
pub(crate) fn stamped(stamp: &Path, text: &str) -> bool {
    fs::read_to_string(stamp).is_ok_and(|found| found == text)
}

/// Writes a file and the folders above it.
pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// Opens a lock file; whoever holds its lock is alone, and the system frees it with its holder's end.
pub(crate) fn lock_file(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
}

/// Waits until this process is the one that holds the lock.
pub(crate) fn wait_for(lock: &File) -> Result<()> {
    while lock.try_lock().is_err() {
        pause()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_follows_names_and_contents_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(&root.join("src/a.rs"), "one").unwrap();
        let first = fingerprint(root, &["src", "absent"]).unwrap();
        write(&root.join("src/a.rs"), "one").unwrap();
        assert_eq!(fingerprint(root, &["src", "absent"]).unwrap(), first);

        write(&root.join("src/a.rs"), "two").unwrap();
        assert_ne!(fingerprint(root, &["src"]).unwrap(), first);
        fs::rename(root.join("src/a.rs"), root.join("src/b.rs")).unwrap();
        write(&root.join("src/b.rs"), "one").unwrap();
        assert_ne!(fingerprint(root, &["src"]).unwrap(), first);
    }

    #[test]
    fn hex_is_lower_case_and_keeps_leading_zeros() {
        assert_eq!(hex(&[0, 10, 255]), "000aff");
    }
}
