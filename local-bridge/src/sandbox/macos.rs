//! The fence on macOS: a Seatbelt profile that denies everything and then names what is allowed.

use super::Enclosure;
#[cfg(target_os = "macos")]
use super::NotEntered;
use std::fmt::Write as _;
use std::path::Path;
#[cfg(target_os = "macos")]
use std::process::Command;

/// The system's own, whatever `PATH` says.
#[cfg(target_os = "macos")]
const SANDBOX: &str = "/usr/bin/sandbox-exec";

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

/// What a command needs that may reach the network: sockets that go out, the system's resolver, which is asked by a socket file here, and
/// what tells whether a certificate is good. Nothing can be listened on.
const NETWORK: &str = r#"(allow network-outbound (remote tcp) (remote udp))
(allow network-bind (local udp))
(allow network-outbound (literal "/private/var/run/mDNSResponder"))
(allow system-socket (socket-domain AF_INET) (socket-domain AF_INET6))
(allow mach-lookup (global-name "com.apple.SystemConfiguration.configd") (global-name "com.apple.trustd.agent"))
(allow file-read* (literal "/private/etc/resolv.conf") (literal "/private/var/run/resolv.conf") (literal "/private/etc/hosts"))
(allow file-read* (literal "/private/etc/services") (literal "/private/etc/protocols") (subpath "/private/etc/ssl"))
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

/// The program, yet to be started behind the profile, and what that enforces.
#[cfg(target_os = "macos")]
pub(super) fn fenced(enclosure: &Enclosure) -> Result<(Command, String), NotEntered> {
    enclosure.opened_root()?;
    if !Path::new(SANDBOX).exists() {
        return Err(NotEntered::Unfenced(format!("there is no {SANDBOX}")));
    }
    let mut command = Command::new(SANDBOX);
    command
        .arg("-p")
        .arg(profile(enclosure))
        .arg(&enclosure.program);
    command.args(&enclosure.argv[1..]);
    let enforces =
        "files, network, signals and services (Seatbelt), time, open files and file sizes (limits)";
    Ok((command, enforces.to_owned()))
}

/// The profile of one enclosure.
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
    if enclosure.network {
        text.push_str(NETWORK);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::path::PathBuf;

    fn enclosure(root: &str, writable: bool) -> Enclosure {
        Enclosure {
            token: "t".into(),
            parent: 1,
            root: Some(PathBuf::from(root)),
            root_id: Some("1:2".into()),
            writable,
            scratch: Some("/Users/anna/.bernard/scratch".into()),
            network: false,
            seconds: 60,
            terminal: false,
            keep: false,
            bare: false,
            program: "/usr/bin/git".into(),
            tell: false,
            argv: vec![OsString::from("git")],
        }
    }

    /// What the profile allows beyond what every program needs.
    fn own(enclosure: &Enclosure) -> Vec<String> {
        let profile = profile(enclosure);
        let rest = profile.strip_prefix(BASE).unwrap();
        rest.lines()
            .skip(PROGRAMS.len())
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn a_profile_opens_the_program_the_scratch_folder_and_the_one_root() {
        let program = r#"(allow file-read* process-exec (literal "/usr/bin/git"))"#;
        let scratch = r#"(allow file-read* file-write* (subpath "/Users/anna/.bernard/scratch"))"#;
        let read = r#"(allow file-read* (subpath "/Users/anna/Documents"))"#;
        let write = r#"(allow file-read* file-write* (subpath "/Users/anna/Documents"))"#;
        let root = "/Users/anna/Documents";
        assert_eq!(own(&enclosure(root, false)), [program, scratch, read]);
        assert_eq!(own(&enclosure(root, true)), [program, scratch, write]);
    }

    #[test]
    fn a_profile_opens_the_network_for_a_command_whose_rule_grants_it() {
        let mut granted = enclosure("/Users/anna/Documents", false);
        assert!(!profile(&granted).contains("network"));
        granted.network = true;
        let profile = profile(&granted);
        assert!(profile.contains(NETWORK), "{profile}");
        for word in [
            "network-inbound",
            "(allow network*",
            "(remote ip",
            "SecurityServer",
        ] {
            assert!(!profile.contains(word), "{word}");
        }
    }

    #[test]
    fn a_path_cannot_write_rules() {
        let odd = "/Users/anna/a\") (subpath \"/\"))\\";
        assert_eq!(
            own(&enclosure(odd, false))[2],
            r#"(allow file-read* (subpath "/Users/anna/a\") (subpath \"/\"))\\"))"#
        );
    }

    #[test]
    fn a_profile_denies_first_and_opens_neither_homes_nor_the_network_nor_services() {
        let mut bare = enclosure("", false);
        bare.root = None;
        bare.scratch = None;
        let profile = profile(&bare);
        assert!(profile.starts_with("(version 1)\n(deny default)\n"));
        for word in [
            "/Users",
            "/private/var/folders",
            "/Volumes\"",
            "/private/tmp",
            "network",
            "mach-lookup",
            "(allow default)",
            "(subpath \"/System\")",
            "(subpath \"/\")",
        ] {
            assert!(!profile.contains(word), "{word}");
        }
    }
}
