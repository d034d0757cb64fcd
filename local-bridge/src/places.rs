//! Where a path leads: below an opened root or nowhere. Every file access of the tools goes through the handles made here.
//!
//! A path is never checked and then used: it is opened beneath its root's handle, and what was opened is then looked at.

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt};
use protocol::call::Outcome;
use protocol::session::Access;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// A folder that its owner opened, held open since.
#[derive(Debug)]
pub struct Root {
    /// The first part of every path in it.
    pub name: String,
    /// What may be done there.
    pub access: Access,
    /// Where it lies, without symbolic links.
    pub path: PathBuf,
    /// Where its owner said it lies.
    pub written: PathBuf,
    /// The folder itself.
    pub dir: Dir,
}

/// A place below a root, as yet unopened.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    /// The root.
    pub root: &'a Root,
    /// The way there: names only, none of them `..`; `.` for the root itself.
    pub path: PathBuf,
}

/// The way to a place that is about to be changed: the innermost folder that is there, and what must be made below it.
#[derive(Debug)]
pub struct Above<'a> {
    /// The innermost folder on the way that is there.
    pub dir: Dir,
    /// The folders that are not, outermost first.
    pub missing: Vec<&'a OsStr>,
    /// The place's last name.
    pub name: &'a OsStr,
    /// Where the place really lies below its root, links on the way followed.
    pub real: PathBuf,
}

/// Why a place cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NoPlace {
    /// It lies outside of what the owner opened.
    #[error("'{0}' leads out of the folders that this machine opens")]
    Outside(String),
    /// No root has that name.
    #[error("'{path}' is in no folder that this machine opens; there are: {roots}")]
    NoRoot {
        /// What was asked for.
        path: String,
        /// What there is.
        roots: String,
    },
    /// A name on the way is never touched, wherever it lies.
    #[error("'{0}' is never read or changed: it may hold keys, passwords or start-up commands")]
    Forbidden(String),
    /// Another name of the same file may lie anywhere.
    #[error("'{0}' has a second name (a hard link), which may lie outside; it is not changed")]
    Linked(String),
    /// The root may only be read.
    #[error("'{0}' may only be read")]
    ReadOnly(String),
    /// The root may only be added to, and this would change what is there or take it away.
    #[error(
        "'{0}' lies in a folder that may only be added to: a file or folder with a new name can be made there, and files.append adds to the end of a text; \
         what is there is not changed, replaced, moved or deleted"
    )]
    AddOnly(String),
    /// It cannot be done, and nothing was changed; what would help is said where it is known.
    #[error("{0}")]
    Refused(String),
    /// It is not what the tool needs.
    #[error("'{path}' {what}")]
    Unfit {
        /// The place.
        path: String,
        /// What it is or is not.
        what: &'static str,
    },
    /// The system says no.
    #[error("'{path}': {source}")]
    Io {
        /// The place.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Names that are refused in any letter case.
const FORBIDDEN: &[&str] = &[
    ".ssh",
    ".aws",
    ".azure",
    ".gnupg",
    ".kube",
    ".bernard",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".pgpass",
    ".git-credentials",
    ".gitconfig",
    ".bashrc",
    ".bash_profile",
    ".bash_login",
    ".bash_logout",
    ".profile",
    ".zshrc",
    ".zprofile",
    ".zshenv",
    ".zlogin",
    ".zlogout",
    ".cshrc",
    ".tcshrc",
    ".kshrc",
    ".mkshrc",
    ".login",
    ".logout",
    ".xprofile",
    ".xinitrc",
    ".xsession",
    ".xsessionrc",
    ".pam_environment",
    ".password-store",
    ".vault-token",
    "authorized_keys",
    "launchagents",
    "launchdaemons",
    "keychains",
];

/// Pairs of names, one below the other, that are refused in any letter case.
const FORBIDDEN_PAIRS: &[(&str, &str)] = &[
    (".git", "hooks"),
    (".git", "config"),
    (".config", "autostart"),
    (".config", "systemd"),
    (".config", "fish"),
    (".config", "nushell"),
    (".config", "zsh"),
    (".config", "environment.d"),
    (".config", "gh"),
    (".config", "gcloud"),
    (".docker", "config.json"),
    (".cargo", "credentials"),
    (".cargo", "credentials.toml"),
];

impl From<NoPlace> for Outcome {
    fn from(no: NoPlace) -> Self {
        let reason = no.to_string();
        match no {
            NoPlace::Outside(_)
            | NoPlace::Forbidden(_)
            | NoPlace::Linked(_)
            | NoPlace::ReadOnly(_)
            | NoPlace::AddOnly(_) => Self::Denied { reason },
            NoPlace::NoRoot { .. }
            | NoPlace::Refused(_)
            | NoPlace::Unfit { .. }
            | NoPlace::Io { .. } => Self::Failed { reason },
        }
    }
}

impl Root {
    /// Opens a folder, once, for as long as the value lives.
    pub fn open(name: &str, written: &Path, access: Access) -> io::Result<Self> {
        let path = written.canonicalize()?;
        let dir = Dir::open_ambient_dir(&path, ambient_authority())?;
        Ok(Self {
            name: name.to_owned(),
            access,
            path,
            written: written.to_owned(),
            dir,
        })
    }

    /// Whether a path below this root has a name on it that is never touched. The root's own name counts as the one above.
    pub fn forbids(&self, path: &Path) -> bool {
        forbidden(&Path::new(self.path.file_name().unwrap_or_default()).join(path))
    }

    /// Whether a path below this root may be read at the most: what git keeps for itself can name programs that it then runs, and what
    /// lies in a disk's trash is put back by its owner, who trusts what is noted there.
    pub fn keeps(&self, path: &Path) -> bool {
        let kept = |name: &str| {
            matches!(name, ".git" | ".trash" | ".trashes") || name.starts_with(".trash-")
        };
        self.forbids(path)
            || path
                .components()
                .any(|part| kept(&folded(part.as_os_str())))
    }
}

/// Finds the place that a text names: `<root>/<path>`, a path in the only root, or a path that lies in a root as its owner wrote it.
pub fn find<'a>(roots: &'a [Root], text: &str) -> Result<Place<'a>, NoPlace> {
    if text.contains('\0') {
        return Err(NoPlace::Outside(text.replace('\0', "\\0")));
    }
    let path = Path::new(text);
    let (root, rest) = match whole(roots, path) {
        Some(found) => found,
        None if path.is_absolute() => return Err(NoPlace::Outside(text.to_owned())),
        None => named(roots, text)?,
    };
    let place = Place {
        root,
        path: tidy(&rest).ok_or_else(|| NoPlace::Outside(text.to_owned()))?,
    };
    if root.forbids(&place.path) {
        return Err(NoPlace::Forbidden(place.shown()));
    }
    Ok(place)
}

/// Whether a path has a name on it that is never touched.
pub fn forbidden(path: &Path) -> bool {
    let names: Vec<String> = path
        .components()
        .map(|part| folded(part.as_os_str()))
        .collect();
    names.iter().any(|name| forbidden_name(name))
        || names.windows(2).any(|two| {
            FORBIDDEN_PAIRS
                .iter()
                .any(|(above, below)| two[0] == *above && two[1] == *below)
        })
}

impl Place<'_> {
    /// The path as a person and a model read it.
    pub fn shown(&self) -> String {
        if self.path == Path::new(".") {
            return self.root.name.clone();
        }
        visible(&format!("{}/{}", self.root.name, self.path.display()))
    }

    /// The place of a name in this folder.
    #[must_use]
    pub fn below(&self, name: impl AsRef<Path>) -> Self {
        let path = if self.path == Path::new(".") {
            name.as_ref().to_owned()
        } else {
            self.path.join(name)
        };
        Self {
            root: self.root,
            path,
        }
    }

    /// Opens the folder that lies there.
    pub fn open_dir(&self) -> Result<Dir, NoPlace> {
        let dir = self
            .root
            .dir
            .open_dir(&self.path)
            .map_err(|error| self.refusal(error))?;
        self.look(&dir)?;
        Ok(dir)
    }

    /// Opens the file that lies there for reading.
    pub fn open_file(&self) -> Result<File, NoPlace> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(unblocked());
        let file = self
            .root
            .dir
            .open_with(&self.path, &options)
            .map_err(|error| self.refusal(error))?;
        self.look(&file)?;
        let metadata = file.metadata().map_err(|error| self.refusal(error))?;
        if metadata.is_dir() {
            return Err(self.unfit("is a folder"));
        }
        if !metadata.is_file() {
            return Err(self.unfit("is not an ordinary file"));
        }
        Ok(file)
    }

    /// Whether what lies there may be changed or taken away.
    pub fn changeable(&self) -> Result<(), NoPlace> {
        match self.root.access {
            Access::Read => Err(NoPlace::ReadOnly(self.shown())),
            Access::Append => Err(NoPlace::AddOnly(self.shown())),
            Access::Write => Ok(()),
        }
    }

    /// Opens the way to a place that is about to be changed, and makes nothing yet; the root must be open for writing.
    pub fn above(&self) -> Result<Above<'_>, NoPlace> {
        self.changeable()?;
        self.above_new()
    }

    /// Opens the way to a place where something is about to be added, and makes nothing yet; the root must be open for that at least.
    /// Whoever goes on from here must leave what is there as it is, or ask [`Place::changeable`].
    pub fn above_new(&self) -> Result<Above<'_>, NoPlace> {
        if self.root.access < Access::Append {
            return Err(NoPlace::ReadOnly(self.shown()));
        }
        let Some(name) = self.path.file_name() else {
            return Err(self.unfit("is a folder that its owner opened; it stays as it is"));
        };
        let parent = self.path.parent().unwrap_or(Path::new(""));
        let mut missing = Vec::new();
        for there in parent.ancestors() {
            let above = Place {
                root: self.root,
                path: tidy(there).unwrap_or_else(|| PathBuf::from(".")),
            };
            match above.open_dir() {
                Ok(dir) => {
                    missing.reverse();
                    return self.way(dir, missing, name);
                }
                Err(NoPlace::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && there != Path::new("") =>
                {
                    missing.extend(there.file_name());
                }
                Err(error) => return Err(error),
            }
        }
        Err(self.unfit("has no folder above it"))
    }

    /// Judges the place by where its folder really lies: a link on the way may have led to where the last name means something else.
    fn way<'a>(
        &self,
        dir: Dir,
        missing: Vec<&'a OsStr>,
        name: &'a OsStr,
    ) -> Result<Above<'a>, NoPlace> {
        let mut real = self.inside(&dir)?;
        real.extend(&missing);
        real.push(name);
        if self.root.keeps(&real) || self.root.keeps(&self.path) {
            return Err(NoPlace::Forbidden(self.shown()));
        }
        Ok(Above {
            dir,
            missing,
            name,
            real,
        })
    }

    /// The folders that a change here would have to make, outermost first.
    pub fn unmade(&self, above: &Above<'_>) -> Vec<Self> {
        let parents = self.path.ancestors().skip(1).take(above.missing.len());
        let mut unmade: Vec<Self> = parents
            .map(|path| Self {
                root: self.root,
                path: path.to_owned(),
            })
            .collect();
        unmade.reverse();
        unmade
    }

    /// An input/output error at this place, said in its terms.
    pub fn refusal(&self, error: io::Error) -> NoPlace {
        // cap-std's own refusals are no errors of the system and so have no number.
        if error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none() {
            return NoPlace::Outside(self.shown());
        }
        NoPlace::Io {
            path: self.shown(),
            source: error,
        }
    }

    /// The place is there but not what is needed.
    pub fn unfit(&self, what: &'static str) -> NoPlace {
        NoPlace::Unfit {
            path: self.shown(),
            what,
        }
    }

    /// Makes the folders that are missing. Nothing can be a link: they were not there.
    pub fn make<'a>(&self, above: Above<'a>) -> Result<(Dir, &'a OsStr), NoPlace> {
        let mut dir = above.dir;
        for name in above.missing {
            let name = Path::new(name);
            match dir.create_dir(name) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(self.refusal(error)),
            }
            dir = dir.open_dir(name).map_err(|error| self.refusal(error))?;
            self.look(&dir)?;
        }
        Ok((dir, above.name))
    }

    /// Looks at what was really opened: a symbolic link in the root may have led to a name that is never touched.
    pub fn look(&self, opened: impl AsFd) -> Result<(), NoPlace> {
        self.inside(opened).map(|_| ())
    }

    /// Where what was opened really lies below the root.
    pub fn inside(&self, opened: impl AsFd) -> Result<PathBuf, NoPlace> {
        let real = real_path(opened).map_err(|error| self.refusal(error))?;
        let inside = real
            .strip_prefix(&self.root.path)
            .map_err(|_| NoPlace::Outside(self.shown()))?;
        if self.root.forbids(inside) {
            return Err(NoPlace::Forbidden(self.shown()));
        }
        Ok(inside.to_owned())
    }
}

/// A name or path on one line, its control characters and direction marks made visible.
pub fn visible(text: &str) -> String {
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars()
        .flat_map(|c| {
            let escaped: Vec<char> = if odd(c) {
                c.escape_default().collect()
            } else {
                vec![c]
            };
            escaped
        })
        .collect()
}

/// Flags that keep an open from waiting for the other end of a pipe.
pub fn unblocked() -> i32 {
    rustix::fs::OFlags::NONBLOCK.bits().cast_signed()
}

/// The name of an opened file or folder, as the system knows it.
#[cfg(target_os = "linux")]
pub fn real_path(opened: impl AsFd) -> io::Result<PathBuf> {
    use std::os::fd::AsRawFd;
    let number = opened.as_fd().as_raw_fd();
    std::fs::read_link(format!("/proc/self/fd/{number}"))
}

/// The name of an opened file or folder, as the system knows it.
#[cfg(not(target_os = "linux"))]
pub fn real_path(opened: impl AsFd) -> io::Result<PathBuf> {
    let path = rustix::fs::getpath(opened)?;
    Ok(PathBuf::from(OsStr::from_bytes(path.as_bytes())))
}

fn forbidden_name(name: &str) -> bool {
    let key_file = Path::new(name)
        .extension()
        .and_then(OsStr::to_str)
        .is_some_and(|end| matches!(end, "pem" | "key" | "p12" | "pfx" | "kdbx" | "keychain-db"));
    let private_key = ["id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"]
        .iter()
        .any(|begin| name.starts_with(begin));
    FORBIDDEN.contains(&name) || name.starts_with(".env") || key_file || private_key
}

/// A name as file systems that ignore case compare it: `ſ` is `s` there, `ﬁ` is `fi`, and what has no width is nothing.
fn folded(name: &OsStr) -> String {
    let unseen = |c: &char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let name = name.to_string_lossy();
    let seen: String = name.chars().filter(|c| !unseen(c)).collect();
    seen.to_uppercase().to_lowercase()
}

/// A path that lies in a root as a whole; the innermost root wins.
fn whole<'a>(roots: &'a [Root], path: &Path) -> Option<(&'a Root, PathBuf)> {
    roots
        .iter()
        .flat_map(|root| [(root, &root.path), (root, &root.written)])
        .filter_map(|(root, base)| Some((root, path.strip_prefix(base).ok()?.to_owned())))
        .min_by_key(|(_, rest)| rest.as_os_str().as_bytes().len())
}

fn named<'a>(roots: &'a [Root], text: &str) -> Result<(&'a Root, PathBuf), NoPlace> {
    let text = text.trim_start_matches("./");
    let (first, rest) = text.split_once('/').unwrap_or((text, ""));
    if let Some(root) = roots.iter().find(|root| root.name == first) {
        return Ok((root, PathBuf::from(rest.trim_start_matches('/'))));
    }
    if let [only] = roots {
        return Ok((only, PathBuf::from(text)));
    }
    let names: Vec<&str> = roots.iter().map(|root| root.name.as_str()).collect();
    Err(NoPlace::NoRoot {
        path: text.to_owned(),
        roots: if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        },
    })
}

/// The path without `.` and `..`; nothing if it climbs out.
fn tidy(path: &Path) -> Option<PathBuf> {
    let mut tidy = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => tidy.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !tidy.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    if tidy.as_os_str().is_empty() {
        tidy.push(".");
    }
    Some(tidy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn root(folder: &Path, name: &str) -> Root {
        fs::create_dir_all(folder.join(name)).unwrap();
        Root::open(name, &folder.join(name), Access::Write).unwrap()
    }

    fn shown(roots: &[Root], text: &str) -> String {
        match find(roots, text) {
            Ok(place) => place.shown(),
            Err(NoPlace::Outside(_)) => "outside".to_owned(),
            Err(NoPlace::Forbidden(_)) => "forbidden".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_text_names_a_place_in_a_root() {
        let folder = tempfile::tempdir().unwrap();
        let roots = [root(folder.path(), "docs"), root(folder.path(), "music")];
        let whole = folder.path().join("docs/a/b.txt");
        for (text, place) in [
            ("docs/a.txt", "docs/a.txt"),
            ("docs", "docs"),
            ("docs/", "docs"),
            ("./docs/./a//b.txt", "docs/a/b.txt"),
            ("docs/a/../b.txt", "docs/b.txt"),
            (whole.to_str().unwrap(), "docs/a/b.txt"),
            ("docs/../music/a", "outside"),
            ("docs/../../etc/passwd", "outside"),
            ("/etc/passwd", "outside"),
            ("docs/\0", "outside"),
            (
                "films/a",
                "'films/a' is in no folder that this machine opens; there are: docs, music",
            ),
        ] {
            assert_eq!(shown(&roots, text), place, "{text:?}");
        }
        let one = [root(folder.path(), "docs")];
        assert_eq!(shown(&one, "a/b.txt"), "docs/a/b.txt");
        assert_eq!(shown(&one, ""), "docs");
        assert_eq!(shown(&one, ".."), "outside");
    }

    #[test]
    fn names_that_hold_secrets_are_refused_in_any_case() {
        for path in [
            ".ssh/id",
            "a/.SSH/config",
            ".env",
            ".env.local",
            "a/Server.PEM",
            "tls.key",
            "id_rsa",
            "id_ed25519.pub",
            ".git/hooks/pre-commit",
            "x/.git/config",
            ".zshrc",
            "Library/LaunchAgents/x.plist",
            ".bernard/policy.toml",
            ".config/autostart/x",
            ".config/environment.d/x.conf",
            ".docker/config.json",
            ".Xprofile",
            ".ba\u{17f}hrc",
            ".con\u{fb01}g/fi\u{17f}h/x",
            ".g\u{200c}it/hooks/x",
            ".env\u{feff}",
        ] {
            assert!(forbidden(Path::new(path)), "{path}");
        }
        for path in [
            "environment.txt",
            "keys.txt",
            ".git/HEAD",
            "hooks/config",
            "ssh",
            "a.keys",
        ] {
            assert!(!forbidden(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn links_lead_nowhere_outside_and_to_nothing_forbidden() {
        let folder = tempfile::tempdir().unwrap();
        let roots = [root(folder.path(), "docs")];
        let docs = folder.path().join("docs");
        fs::write(folder.path().join("secret"), "s").unwrap();
        fs::create_dir(docs.join("real")).unwrap();
        fs::write(docs.join("real/ok"), "ok").unwrap();
        fs::create_dir(docs.join(".ssh")).unwrap();
        fs::write(docs.join(".ssh/id"), "k").unwrap();
        symlink("real", docs.join("in")).unwrap();
        symlink("../secret", docs.join("up")).unwrap();
        symlink(folder.path().join("secret"), docs.join("absolute")).unwrap();
        symlink(folder.path(), docs.join("away")).unwrap();
        symlink("/proc/self/root", docs.join("proc")).unwrap();
        symlink(".ssh", docs.join("keys")).unwrap();
        symlink(".ssh/id", docs.join("plain")).unwrap();
        let opened = |text: &str| match find(&roots, text).and_then(|place| place.open_file()) {
            Ok(_) => "opened",
            Err(NoPlace::Outside(_)) => "outside",
            Err(NoPlace::Forbidden(_)) => "forbidden",
            Err(_) => "other",
        };
        for (text, what) in [
            ("real/ok", "opened"),
            ("./real/ok", "opened"),
            ("real/../real/ok", "opened"),
            ("real//../real/ok", "opened"),
            ("in/ok", "opened"),
            ("up", "outside"),
            ("absolute", "outside"),
            ("away/secret", "outside"),
            ("proc/etc/passwd", "outside"),
            ("../secret", "outside"),
            ("real/../../secret", "outside"),
            ("/etc/passwd", "outside"),
            ("keys/id", "forbidden"),
            ("plain", "forbidden"),
            (".ssh/id", "forbidden"),
        ] {
            assert_eq!(opened(text), what, "{text}");
        }
    }

    #[test]
    fn a_folder_is_made_below_what_is_there_and_never_through_a_link_to_a_forbidden_one() {
        let folder = tempfile::tempdir().unwrap();
        let roots = [root(folder.path(), "docs")];
        let docs = folder.path().join("docs");
        fs::create_dir(docs.join(".ssh")).unwrap();
        symlink(".ssh", docs.join("keys")).unwrap();
        let place = find(&roots, "a/b/c.txt").unwrap();
        let above = place.above().unwrap();
        let unmade: Vec<String> = place.unmade(&above).iter().map(Place::shown).collect();
        assert_eq!(unmade, ["docs/a", "docs/a/b"]);
        assert!(!docs.join("a").exists(), "looking makes nothing");
        place.make(above).unwrap();
        assert!(docs.join("a/b").is_dir());
        let refused = find(&roots, "keys/new/c.txt").unwrap();
        assert!(matches!(refused.above(), Err(NoPlace::Forbidden(_))));
        assert!(!docs.join(".ssh/new").exists());
    }

    #[test]
    fn a_link_to_where_a_harmless_name_is_a_forbidden_one_leads_to_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let roots = [root(folder.path(), "docs")];
        let docs = folder.path().join("docs");
        fs::create_dir_all(docs.join(".git/hooks")).unwrap();
        fs::create_dir(docs.join(".config")).unwrap();
        symlink(".git", docs.join("g")).unwrap();
        symlink(".config", docs.join("c")).unwrap();
        for text in ["g/config", "g/new", "g/hooks/x", "c/autostart/x", ".git"] {
            let refused = find(&roots, text).unwrap();
            let above = refused.above();
            assert!(matches!(above, Err(NoPlace::Forbidden(_))), "{text}");
        }
        assert!(find(&roots, "c/app/x").unwrap().above().is_ok());
        let inner = [Root::open("config", &docs.join(".config"), Access::Write).unwrap()];
        let autostart = find(&inner, "config/autostart/x");
        assert!(matches!(autostart, Err(NoPlace::Forbidden(_))));
    }

    #[cfg(target_os = "linux")] // where a pipe can be made without `unsafe`
    #[test]
    fn a_pipe_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let roots = [root(folder.path(), "docs")];
        let pipe = folder.path().join("docs/pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        let place = find(&roots, "pipe").unwrap();
        let Err(NoPlace::Unfit { what, .. }) = place.open_file() else {
            panic!("opened");
        };
        assert_eq!(what, "is not an ordinary file");
    }

    #[test]
    fn odd_characters_in_names_are_made_visible() {
        assert_eq!(
            visible("a\nb\u{202e}c\u{1b}[1mé"),
            "a\\nb\\u{202e}c\\u{1b}[1mé"
        );
    }
}
