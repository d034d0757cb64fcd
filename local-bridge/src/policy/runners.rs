//! Programs that run whatever they are told: a rule for one of them would be a rule for everything.

use std::path::Path;

/// Their names, group by group. What comes with a version in its name is in [`FAMILIES`].
const RUNNERS: &[&str] = &[
    // Shells and what stands in for them.
    "sh bash rbash dash zsh fish ksh mksh oksh yash csh tcsh ash elvish nu xonsh rc es busybox toybox pwsh \
     powershell git-shell",
    // Languages.
    "irb deno bun bunx expect awk gawk mawk nawk bwk original-awk tsx ts-node r rscript octave matlab julia ghc ghci \
     runghc runhaskell stack cabal jshell jrunscript scala kotlin groovy clojure clj bb elixir iex mix erl escript \
     ocaml racket gsi csi scheme sbcl clisp ecl swift dotnet mono m4 dc gdc go zig v crystal nim dart flutter raku \
     janet fennel jimsh pike gjs osascript osacompile automator shortcuts jxa cscript wscript",
    // Programs whose purpose is to start others.
    "env xargs parallel find gfind bfs fd fdfind sudo su doas runuser run0 pkexec sudoedit sg newgrp login open \
     xdg-open gio security script nohup nice ionice time timeout gtimeout setsid stdbuf unbuffer unshare nsenter \
     chroot pivot_root strace ltrace dtrace dtruss gdb lldb perf valgrind rlwrap watch viddy entr watchexec \
     hyperfine screen tmux tmate byobu zellij dtach abduco flock taskset chrt numactl prlimit setpriv capsh runcon \
     firejail bwrap fakeroot fakechroot proot faketime eatmydata setarch linux32 linux64 i386 x86_64 arch caffeinate \
     ldd ld.so dbus-launch dbus-run-session dbus-send gdbus busctl qdbus at batch crontab anacron systemctl \
     systemd-run launchctl service initctl rc-service openrc start-stop-daemon run-parts logrotate logsave ip \
     tcpdump tshark nmap journalctl machinectl loginctl xinit startx xvfb-run sshpass torsocks torify tsocks \
     proxychains proxychains4 chpst softlimit su-exec gosu tini dumb-init daemonize choom uclampset coproc command \
     exec eval source xcrun ssh-agent aa-exec cgexec",
    // Other machines; `curl` writes files and reads a file of options.
    "ssh scp sftp rsync rclone autossh mosh rsh rlogin telnet ftp lftp nc ncat netcat socat wget curl aria2c yt-dlp \
     youtube-dl",
    // Containers and machines.
    "docker podman nerdctl buildah kubectl k oc helm ctr crictl lxc lxc-execute runc crun vagrant virsh multipass \
     limactl colima wsl terraform tofu pulumi",
    // Builders, packages, compilers.
    "make gmake bmake cmake ctest ninja meson rake just task scons bazel buck2 gradle gradlew mvn mvnw ant sbt lein \
     xcodebuild npm npx yarn pnpm pnpx corepack nvm fnm volta asdf mise direnv pip pipx uv uvx poetry pdm hatch tox \
     nox conda mamba cargo rustup rustc rustdoc gem bundle bundler composer brew port apt apt-get aptitude dpkg snap \
     flatpak dnf yum rpm rpmbuild zypper pacman yay paru apk emerge xbps-install nix guix cpan cpanm luarocks opam \
     cc c++ g++ gcc tcc ld as installer",
    // Editors, pagers, and what opens them.
    "vi view ex ed red rview rvim gvim nvim nano rnano pico joe mg micro hx helix kak code codium subl gedit kate mc \
     mcedit emacs emacsclient less more most pg lv bat batcat delta man info pinfo apropos whatis tig lazygit gitk \
     gh glab hub ranger lf nnn vifm fzf sk visudo vipw vigr select-editor sensible-editor sensible-pager pager \
     editor",
    // Programs with an option, a file format or a syntax that starts others.
    "sed gsed tar gtar bsdtar star cpio pax zip 7z 7za 7zr rar unrar sqlite3 psql mysql mariadb mongo mongosh \
     redis-cli duckdb gpg gpg2 openssl exiftool magick convert mogrify composite montage identify gm gs ghostscript \
     tex latex pdftex pdflatex xetex xelatex luatex lualatex latexmk pandoc troff groff mail mailx mutt neomutt \
     sendmail hg svn fossil jj bzr cvs ansible puppet chef-client salt salt-call aws gcloud gnuplot bpftrace bcc \
     stap ctags indent split gsplit sdiff ack ag ffmpeg install xterm kitty alacritty gnome-terminal konsole modprobe insmod mount \
     umount local-bridge",
];

/// Beginnings of names that come with a version, a target or a part in them, such as `python3.13`.
const FAMILIES: &str = "python pypy ipython perl ruby node php lua tclsh wish guile java clang gcc- g++- vim emacs- ld-linux ld-musl \
     qemu git- ansible- docker- podman- pip2 pip3 bash- zsh- ksh9 awk- systemd- x86_64- aarch64- i686- lldb- gdb- \
     nix- cargo- rust-";

/// Whether a program of this name runs whatever it is told.
pub(super) fn runs_anything(file: &str) -> bool {
    // Some file systems do not tell BASH from bash.
    let file = file.to_lowercase();
    let plain = file.strip_suffix(".exe").unwrap_or(&file);
    let mut runners = RUNNERS.iter().flat_map(|group| group.split(' '));
    let mut families = FAMILIES.split(' ');
    runners.any(|name| name == plain) || families.any(|family| plain.starts_with(family))
}

/// Whether the program at this path does, under the name that it is called by or the one that it really has.
pub(super) fn is_runner(name: &str, real: &Path) -> bool {
    let last = |path: &Path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    runs_anything(&last(Path::new(name))) || runs_anything(&last(real))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_is_known_by_its_name_its_version_and_where_its_link_leads() {
        for name in [
            "sh",
            "BASH",
            "python3.13",
            "nodejs",
            "vim.tiny",
            "ld-linux-x86-64.so.2",
            "git-upload-pack",
            "curl",
            "ffmpeg",
            "ssh-agent",
            "aa-exec",
            "cgexec",
            "tmate",
            "ack",
            "ag",
            "sdiff",
        ] {
            assert!(runs_anything(name), "{name}");
        }
        for name in ["pythagoras", "ls", "git", "shasum", "sort", "cat", "diff"] {
            assert!(!runs_anything(name), "{name}");
        }
        assert!(is_runner("editor-of-mine", Path::new("/usr/bin/vim.basic")));
        assert!(is_runner("/opt/perl5.36.0", Path::new("/opt/x")));
    }
}
