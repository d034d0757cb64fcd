//! The pinned tools, each installed once, for this repository alone: `.tools/` and `node_modules/`.

use std::{
    env::{
        self,
        consts::{ARCH, OS},
    },
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    machine::{self, WRANGLER_NODE},
    process::{capture, program},
    screen::Screen,
    workspace::{Workspace, fingerprint, lock_file, stamped, wait_for, write},
};

const WORKER_BUILD: &str = "0.8.7"; // the version of the `worker` crate
/// The Worker's target.
pub(crate) const WASM: &str = "wasm32-unknown-unknown";
const RATHOLE: &str = "0.5.0"; // what the bench compares with
const ZIGLANG: &str = "0.17.1"; // the C compiler for the check of the macOS bridge on other systems

/// How the two cargo tools are compiled: they run for seconds, so their own build should not take minutes.
const QUICK_BUILD: [(&str, &str); 4] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
];

/// Where the installed tools lie.
pub(crate) struct Tools {
    /// Compiles the Worker.
    pub(crate) worker_build: PathBuf,
    /// Makes JavaScript bindings; exactly the version of the `wasm-bindgen` crate.
    pub(crate) wasm_bindgen: PathBuf,
    /// Bundles the JavaScript around the Worker.
    pub(crate) esbuild: PathBuf,
    /// A Node that wrangler and the end-to-end tests run on.
    pub(crate) node: PathBuf,
}

impl Tools {
    /// Checks the machine and installs what is missing.
    pub(crate) fn ready(workspace: &Workspace, screen: &Screen) -> Result<Self> {
        machine::check()?;
        let lock = lock_file(&workspace.tools().join("install.lock")).context("locking .tools")?;
        wait_for(&lock)?;
        add_target(workspace, screen, WASM)?;
        let wasm_bindgen = locked_version(workspace, "wasm-bindgen")?;
        let tools = Self {
            worker_build: cargo_tool(workspace, screen, "worker-build", WORKER_BUILD)?,
            wasm_bindgen: wasm_bindgen_cli(workspace, screen, &wasm_bindgen)?,
            node: npm_packages(workspace, screen)?,
            esbuild: esbuild(workspace)?,
        };
        forget_build_folder(workspace)?;
        Ok(tools)
    }

    /// A wrangler command that runs without questions, telemetry or a terminal.
    pub(crate) fn wrangler<const N: usize>(
        &self,
        workspace: &Workspace,
        args: [&str; N],
    ) -> Result<Command> {
        let mut command = program(&self.node, &workspace.root);
        command
            .arg("node_modules/wrangler/bin/wrangler.js")
            .args(args)
            .env("PATH", first_on_path(&self.node)?)
            .env("CI", "1")
            .env("NO_COLOR", "1")
            .env("WRANGLER_SEND_METRICS", "false")
            .env("WRANGLER_HIDE_BANNER", "true")
            .env("WRANGLER_WRITE_LOGS", "false")
            .env("CLOUDFLARE_CF_FETCH_ENABLED", "false"); // what a place on Earth is like: nobody asks here
        Ok(command)
    }
}

fn first_on_path(program: &Path) -> Result<OsString> {
    let folder = program.parent().map(Path::to_owned);
    let rest = env::var_os("PATH").unwrap_or_default();
    let folders = folder.into_iter().chain(env::split_paths(&rest));
    env::join_paths(folders).context("putting node first on the PATH")
}

/// Installs the standard library for a target, if it is not there.
pub(crate) fn add_target(workspace: &Workspace, screen: &Screen, target: &str) -> Result<()> {
    let mut rustc = program("rustc", &workspace.root);
    rustc.args(["--print", "target-libdir", "--target", target]);
    let folder = capture(rustc)?;
    if Path::new(folder.trim()).is_dir() {
        return Ok(());
    }
    if machine::installed("rustup").is_none() {
        bail!(
            "Rust's standard library for {target} is missing, and so is rustup, which installs it: get rustup from \
             https://rustup.rs, or your system's package of that library (on Debian: libstd-rust-dev-wasm32)"
        )
    }
    let mut rustup = program("rustup", &workspace.root);
    rustup.args(["target", "add", target]);
    let title = format!("Rust's standard library for {target} installed");
    screen.run(workspace, (&title, ""), "rustup", rustup)
}

/// The version of a package in Cargo.lock.
fn locked_version(workspace: &Workspace, package: &str) -> Result<String> {
    let lock =
        fs::read_to_string(workspace.root.join("Cargo.lock")).context("reading Cargo.lock")?;
    version_in_lock(&lock, package).with_context(|| format!("Cargo.lock names no {package}"))
}

fn version_in_lock(lock: &str, package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name).skip(1);
    let version = lines
        .next()?
        .strip_prefix("version = \"")?
        .strip_suffix('"')?;
    Some(version.to_owned())
}

fn wasm_bindgen_cli(workspace: &Workspace, screen: &Screen, version: &str) -> Result<PathBuf> {
    if says_version(Path::new("wasm-bindgen"), version) {
        return Ok("wasm-bindgen".into());
    }
    cargo_tool(workspace, screen, "wasm-bindgen-cli", version)
}

/// Another tunnel, for the bench: nothing else needs it.
pub(crate) fn rathole(workspace: &Workspace, screen: &Screen) -> Result<PathBuf> {
    let lock = lock_file(&workspace.tools().join("install.lock")).context("locking .tools")?;
    wait_for(&lock)?;
    let features = ["--no-default-features", "--features", "server,client,noise"];
    let fast: [(&str, &str); 0] = []; // as its makers release it: it is compared with
    let tool = cargo_tool_with(workspace, screen, ("rathole", RATHOLE), &features, &fast)?;
    forget_build_folder(workspace)?;
    Ok(tool)
}

/// A program from a package on crates.io in exactly this version, compiled if it is not there.
fn cargo_tool(
    workspace: &Workspace,
    screen: &Screen,
    package: &str,
    version: &str,
) -> Result<PathBuf> {
    cargo_tool_with(workspace, screen, (package, version), &[], &QUICK_BUILD)
}

fn cargo_tool_with(
    workspace: &Workspace,
    screen: &Screen,
    (package, version): (&str, &str),
    arguments: &[&str],
    profile: &[(&str, &str)],
) -> Result<PathBuf> {
    let name = package.trim_end_matches("-cli");
    let tool = workspace.tools().join("bin").join(name);
    if says_version(&tool, version) {
        return Ok(tool);
    }
    let title = format!("{package} {version} compiled into .tools/");
    let step = (title.as_str(), "once, about 2 minutes on two cores");
    let mut install = workspace.cargo(["install", package, "--version", version, "--force"]);
    install
        .args(arguments)
        .arg("--root")
        .arg(workspace.tools())
        .env("CARGO_TARGET_DIR", build_folder(workspace)) // an interrupted build goes on where it was
        .envs(profile.iter().copied());
    screen.run(workspace, step, package, install)?;
    if !says_version(&tool, version) {
        bail!(
            "{} is installed, but does not say that it is version {version}",
            tool.display()
        )
    }
    Ok(tool)
}

fn says_version(tool: &Path, version: &str) -> bool {
    let mut command = program(tool, Path::new("."));
    command.arg("--version");
    capture(command).is_ok_and(|said| said.split_whitespace().any(|word| word == version))
}

fn build_folder(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("target")
}

fn forget_build_folder(workspace: &Workspace) -> Result<()> {
    let folder = build_folder(workspace);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    Ok(())
}

/// Installs the npm packages, if those installed are not the locked ones; gives the Node to use.
fn npm_packages(workspace: &Workspace, screen: &Screen) -> Result<PathBuf> {
    let root = &workspace.root;
    let wanted = fingerprint(root, &["package.json", "package-lock.json", ".npmrc"])?;
    let stamp = root.join("node_modules/.bernard-installed"); // `npm ci` removes it with everything else
    if !stamped(&stamp, &wanted) {
        let mut npm = program("npm", root);
        npm.args(["ci", "--no-audit", "--no-fund"]);
        let step = (
            "npm packages installed into node_modules/",
            "about 20 seconds",
        );
        screen.run(workspace, step, "npm", npm)?;
        write(&stamp, &wanted)?;
    }
    node(root)
}

fn node(root: &Path) -> Result<PathBuf> {
    let brought = root.join("node_modules/.bin/node");
    for candidate in [Path::new("node"), &brought] {
        if machine::installed(candidate).is_some_and(|found| found >= WRANGLER_NODE) {
            return full_path(candidate);
        }
    }
    bail!(
        "wrangler needs Node {WRANGLER_NODE} or newer, and the npm package `node` did not install one here: \
         install it from https://nodejs.org"
    )
}

/// Where a program on the PATH lies.
fn full_path(program: &Path) -> Result<PathBuf> {
    let folders = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&folders)
        .map(|folder| folder.join(program)) // an absolute path stays as it is
        .find(|path| path.is_file())
        .with_context(|| format!("looking for {} on the PATH", program.display()))
}

fn esbuild(workspace: &Workspace) -> Result<PathBuf> {
    let platform = esbuild_platform(OS, ARCH);
    let path = workspace
        .root
        .join(format!("node_modules/@esbuild/{platform}/bin/esbuild"));
    if !path.is_file() {
        bail!(
            "npm installed no esbuild for {platform}: {} is missing",
            path.display()
        )
    }
    Ok(path)
}

fn esbuild_platform(os: &str, arch: &str) -> String {
    let os = if os == "macos" { "darwin" } else { os };
    let arch = match arch {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{os}-{arch}")
}

/// A C compiler for macOS on another system: the path of a script that behaves like Apple's `clang`.
pub(crate) fn apple_cc(workspace: &Workspace, screen: &Screen) -> Result<PathBuf> {
    let folder = workspace.tools().join("zig");
    let version = folder.join(format!("ziglang-{ZIGLANG}.dist-info"));
    if !version.is_dir() {
        if machine::installed("python3").is_none() {
            bail!("the check for macOS needs Python 3 with pip: `sudo apt-get install python3-pip`")
        }
        let package = format!("ziglang=={ZIGLANG}");
        let mut pip = program("python3", &workspace.root);
        pip.args([
            "-m",
            "pip",
            "install",
            "--upgrade",
            "--no-input",
            &package,
            "--target",
        ]);
        pip.arg(&folder);
        let step = (
            "a C compiler for macOS installed into .tools/",
            "about a minute",
        );
        screen.run(workspace, step, "pip", pip)?;
    }
    let script = folder.join("apple-cc");
    write(&script, APPLE_CC)?;
    make_executable(&script)?;
    Ok(script)
}

/// Drops the flags that `zig cc` names otherwise or rejects.
const APPLE_CC: &str = r#"#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
skip=
for arg do
  shift
  if [ -n "$skip" ]; then skip=; continue; fi
  case $arg in
    -arch) skip=yes ;;
    --target=* | -mmacosx-version-min=*) ;;
    *) set -- "$@" "$arg" ;;
  esac
done
export PYTHONPATH="$here" ZIG_GLOBAL_CACHE_DIR="$here/cache" ZIG_LOCAL_CACHE_DIR="$here/cache"
exec python3 -m ziglang cc -target aarch64-macos "$@"
"#;

fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let permissions = fs::Permissions::from_mode(0o755);
    fs::set_permissions(path, permissions)
        .with_context(|| format!("making {} executable", path.display()))
}

/// A Chromium for the tests of the console; installs Debian's where that is possible without asking.
pub(crate) fn chromium(workspace: &Workspace, screen: &Screen) -> Result<PathBuf> {
    if let Some(found) = find_chromium() {
        return Ok(found);
    }
    let root = rustix::process::geteuid().is_root();
    if !root || machine::installed("apt-get").is_none() {
        bail!(
            "the console's tests need Chromium or Chrome: `sudo apt-get install chromium`, or `brew install --cask chromium`"
        )
    }
    let mut update = program("apt-get", &workspace.root);
    update.arg("update");
    screen.run(
        workspace,
        ("Debian's package lists read", ""),
        "apt-update",
        update,
    )?;
    let mut install = program("apt-get", &workspace.root);
    install
        .args([
            "install",
            "--yes",
            "--no-install-recommends",
            "chromium",
            "fonts-liberation",
        ])
        .env("DEBIAN_FRONTEND", "noninteractive");
    let step = ("Chromium installed", "about a minute");
    screen.run(workspace, step, "apt-install", install)?;
    find_chromium()
        .context("the package chromium is installed, but brought no program of that name")
}

fn find_chromium() -> Option<PathBuf> {
    let mac = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome";
    ["chromium", "chromium-browser", "google-chrome", mac]
        .iter()
        .find_map(|name| full_path(Path::new(name)).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_tells_a_packages_version() {
        let lock = "[[package]]\nname = \"wasm-bindgen-macro\"\nversion = \"9.9.9\"\n\n\
                    [[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\n";
        assert_eq!(
            version_in_lock(lock, "wasm-bindgen").as_deref(),
            Some("0.2.130")
        );
        assert_eq!(version_in_lock(lock, "worker"), None);
    }

    #[test]
    fn esbuild_has_its_own_names_for_platforms() {
        assert_eq!(esbuild_platform("linux", "x86_64"), "linux-x64");
        assert_eq!(esbuild_platform("linux", "aarch64"), "linux-arm64");
        assert_eq!(esbuild_platform("macos", "aarch64"), "darwin-arm64");
    }

    #[test]
    fn the_pinned_worker_build_is_the_version_of_the_worker_crate() {
        let lock = include_str!("../../Cargo.lock");
        assert_eq!(
            version_in_lock(lock, "worker").as_deref(),
            Some(WORKER_BUILD)
        );
    }

    #[test]
    fn the_compiler_for_macos_is_told_no_flag_that_it_rejects() {
        let folder = tempfile::tempdir().unwrap();
        let script = APPLE_CC.replace("exec python3 -m ziglang cc", "echo");
        write(&folder.path().join("cc"), script).unwrap();
        let mut cc = program("sh", folder.path());
        cc.args(["cc", "-c", "--target=arm64-apple-macosx", "-arch", "arm64"]);
        cc.args(["-mmacosx-version-min=11.0", "-DA=b c", "a.c"]);
        assert_eq!(
            capture(cc).unwrap(),
            "-target aarch64-macos -c -DA=b c a.c\n"
        );
    }
}
