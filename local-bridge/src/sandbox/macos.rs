//! The fence on macOS: a Seatbelt profile that denies everything and then names what is allowed.

use super::Enclosure;
use std::fmt::Write as _;
use std::path::Path;

/// What every program needs. Metadata is open everywhere, as it is on Linux: names, sizes and dates, never contents.
const BASE: &str = r#"(version 1)
(deny default)
(allow process-fork)
(allow signal (target same-sandbox))
(allow process-info* (target same-sandbox))
(allow sysctl-read
  (sysctl-name-prefix "hw.")
  (sysctl-name "kern.argmax")
  (sysctl-name "kern.osproductversion")
  (sysctl-name "kern.osrelease")
  (sysctl-name "kern.ostype")
  (sysctl-name "kern.osversion")
  (sysctl-name "kern.usrstack64")
  (sysctl-name "kern.version"))
(allow file-read-metadata)
(allow file-read* (literal "/"))
(allow file-read* file-write-data (literal "/dev/null"))
(allow file-read* (literal "/dev/zero") (literal "/dev/random") (literal "/dev/urandom"))
(allow file-read* (literal "/private/etc/localtime") (subpath "/private/var/db/timezone"))
"#;

/// Programs and what they come with. Nothing of anyone's home, and of `/System` not the volumes.
const PROGRAMS: [&str; 11] = [
    "/usr/bin",
    "/bin",
    "/usr/sbin",
    "/sbin",
    "/usr/lib",
    "/usr/libexec",
    "/usr/share",
    "/usr/local",
    "/opt/homebrew",
    "/System/Library",
    "/System/Volumes/Preboot/Cryptexes",
];

/// The profile of one enclosure.
#[cfg_attr(
    all(test, not(target_os = "macos")),
    expect(clippy::missing_const_for_fn, reason = "placeholder")
)]
pub(super) fn profile(enclosure: &Enclosure) -> String {
    let mut text = BASE.to_owned();
    for folder in PROGRAMS {
        allow(
            &mut text,
            "file-read* file-map-executable process-exec",
            "subpath",
            Path::new(folder),
        );
    }
    let program = &enclosure.program;
    allow(&mut text, "file-read* process-exec", "literal", program);
    if let Some(scratch) = &enclosure.scratch {
        allow(&mut text, "file-read* file-write*", "subpath", scratch);
    }
    if let Some(root) = &enclosure.root {
        let what = if enclosure.writable {
            "file-read* file-write*"
        } else {
            "file-read*"
        };
        allow(&mut text, what, "subpath", root);
    }
    text
}

fn allow(text: &mut String, what: &str, how: &str, path: &Path) {
    let path = quoted(&path.to_string_lossy());
    writeln!(text, "(allow {what} ({how} {path}))").ok(); // a String takes whatever is written to it
}

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}
