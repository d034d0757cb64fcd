//! The fence on Linux: Landlock for files, TCP and signals, seccomp for sockets and for system calls that reach past files.

use super::{Enclosure, NotEntered};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus,
    PathBeneath, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
    make_bitflags,
};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// What a fence must have: files with truncation, and TCP. Less is no fence.
const LEAST: ABI = ABI::V4;

/// The newest that this code knows; what a kernel lacks of it beyond [`LEAST`] is said and not demanded.
const NEWEST: ABI = ABI::V10;

/// Programs and the libraries and data that they come with.
const PROGRAMS: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32"];

/// The few files of `/etc` that programs need to start and to tell the time. No accounts, no hosts, no keys.
const SETTINGS: [&str; 5] = [
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/locale.alias",
    "/etc/gitconfig", // git will not begin where it is there and cannot be read
];

/// What names and certificates are looked up in; for a command that may reach the network alone. No private keys.
const LOOKED_UP: [&str; 14] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/openssl.cnf",
    "/etc/pki/ca-trust/extracted",
];

/// Devices that hold nothing.
const SOURCES: [&str; 3] = ["/dev/zero", "/dev/urandom", "/dev/random"];

const NULL: &str = "/dev/null";

/// The terminal of the session that opens it.
const TERMINAL: &str = "/dev/tty";

type Rights = BitFlags<AccessFs>;

/// Looking only: a folder that a command works in lends it no programs.
const LOOK: Rights = make_bitflags!(AccessFs::{ReadFile | ReadDir});

const RUN: Rights = make_bitflags!(AccessFs::{ReadFile | ReadDir | Execute});

const TYPE: Rights = make_bitflags!(AccessFs::{ReadFile | WriteFile | IoctlDev});

/// Everything but devices and sockets: a device made in a folder would be the whole disk.
const CHANGE: Rights = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | RemoveFile | RemoveDir
    | MakeReg | MakeDir | MakeSym | MakeFifo | Refer
});

/// Restricts this process for good; gives the program, yet to be started, and what is enforced.
pub(super) fn fenced(enclosure: &Enclosure) -> Result<(Command, String), NotEntered> {
    tie(enclosure.parent).map_err(NotEntered::NotStarted)?;
    let root = enclosure.opened_root()?;
    let abi = restrict_files(enclosure, root).map_err(NotEntered::Unfenced)?;
    restrict_calls(enclosure).map_err(|why| NotEntered::Unfenced(format!("seccomp: {why}")))?;
    check(enclosure.network).map_err(NotEntered::Unfenced)?;
    let mut command = Command::new(&enclosure.program);
    if let [name, arguments @ ..] = enclosure.argv.as_slice() {
        command.arg0(name).args(arguments);
    }
    Ok((command, enforced(abi, enclosure.network)))
}

/// Lets the system end this process, and the program that it becomes, when its keeper is killed. It holds for this process alone, not
/// for those that the program begins: those are the keeper's to end.
fn tie(parent: u32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // A bridge that was gone before sends nothing.
    let now = getppid().map(|parent| Pid::as_raw(Some(parent)).cast_unsigned());
    if now != Some(parent) {
        return Err(io::Error::other("the bridge is gone"));
    }
    Ok(())
}

fn enforced(abi: i32, network: bool) -> String {
    let signals = if abi >= ABI::V6 as i32 {
        "signals"
    } else {
        "signals NOT (that needs Linux 6.12)"
    };
    if network {
        return format!(
            "files (Landlock {abi}), {signals}, no sockets but TCP and UDP that go out, and no dangerous system calls (seccomp), time, memory, processes and file sizes (limits)"
        );
    }
    format!(
        "files and TCP (Landlock {abi}), {signals}, no sockets and no dangerous system calls (seccomp), time, memory, processes and file sizes (limits)"
    )
}

fn restrict_files(enclosure: &Enclosure, root: Option<File>) -> Result<i32, String> {
    let landlock = |error: RulesetError| {
        format!("this kernel has no Landlock with rules for TCP (Linux 6.7): {error}")
    };
    let mut rules = ruleset(enclosure.network).map_err(landlock)?;
    let mut allow = |opened: io::Result<Option<OwnedFd>>, rights: Rights| -> Result<(), String> {
        let Some(opened) = opened.map_err(|error| error.to_string())? else {
            return Ok(());
        };
        let rule = PathBeneath::new(opened, rights);
        (&mut rules).add_rule(rule).map_err(landlock)?;
        Ok(())
    };
    for path in PROGRAMS {
        allow(found(path), RUN)?;
    }
    for path in SETTINGS.into_iter().chain(SOURCES) {
        allow(found(path), AccessFs::ReadFile.into())?;
    }
    for path in LOOKED_UP.into_iter().filter(|_| enclosure.network) {
        let folder = Path::new(path).is_dir();
        let rights = if folder {
            LOOK
        } else {
            AccessFs::ReadFile.into()
        };
        allow(found(path), rights)?;
    }
    allow(found(NULL), AccessFs::ReadFile | AccessFs::WriteFile)?;
    allow(
        opened(&enclosure.program).map(Some),
        AccessFs::ReadFile | AccessFs::Execute,
    )?;
    if enclosure.terminal {
        // The one that the session has, whatever others this account has open.
        allow(found(TERMINAL), TYPE)?;
    }
    if let Some(scratch) = &enclosure.scratch {
        allow(opened(scratch).map(Some), CHANGE)?;
    }
    let rights = if enclosure.writable { CHANGE } else { LOOK };
    allow(Ok(root.map(OwnedFd::from)), rights)?;
    restrict(rules)
}

fn ruleset(network: bool) -> Result<RulesetCreated, RulesetError> {
    // Whoever may reach the network is still no server: the address of a socket for TCP is not its to choose.
    let tcp = if network {
        AccessNet::BindTcp.into()
    } else {
        AccessNet::from_all(LEAST)
    };
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(LEAST))?
        .handle_access(tcp)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()
}

fn restrict(rules: RulesetCreated) -> Result<i32, String> {
    let status = rules
        .restrict_self()
        .map_err(|error| format!("Landlock: {error}"))?;
    match status.landlock {
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } if status.no_new_privs => Ok(kernel_abi.unwrap_or(effective_abi as i32)),
        LandlockStatus::Available { .. } => Err("the process could gain rights".to_owned()),
        LandlockStatus::NotEnabled => Err("Landlock is switched off in this kernel".to_owned()),
        LandlockStatus::NotImplemented => Err("this kernel has no Landlock".to_owned()),
    }
}

/// A path of the system's, if it is there.
fn found(path: &str) -> io::Result<Option<OwnedFd>> {
    match opened(Path::new(path)) {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn opened(path: &Path) -> io::Result<OwnedFd> {
    openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Looks whether what must be gone is gone.
fn check(network: bool) -> Result<(), String> {
    let denied = |kind: Option<io::ErrorKind>| kind == Some(io::ErrorKind::PermissionDenied);
    if !denied(File::open("/proc/self/status").err().map(|e| e.kind())) {
        return Err("files can be opened although Landlock forbids it".to_owned());
    }
    let families = [AddressFamily::UNIX, AddressFamily::INET];
    for family in families.into_iter().take(if network { 1 } else { 2 }) {
        let made = socket(family, SocketType::DGRAM, None);
        if !denied(made.err().map(Errno::kind)) {
            return Err("sockets can be made although seccomp forbids it".to_owned());
        }
    }
    Ok(())
}

fn restrict_calls(enclosure: &Enclosure) -> Result<(), seccompiler::Error> {
    for filter in filters(enclosure)? {
        apply_filter(&filter)?;
    }
    Ok(())
}

/// Two programs for the kernel, since each knows one answer: "not permitted", and "no such call" where that makes a C library use an
/// older one whose arguments can be looked at.
fn filters(enclosure: &Enclosure) -> Result<[BpfProgram; 2], seccompiler::BackendError> {
    let mut refused = refused_calls(enclosure.writable)?;
    if enclosure.network {
        open_network(&mut refused)?;
    }
    spare(enclosure.parent.cast_signed(), &mut refused)?;
    let hidden = BTreeMap::from([(libc::SYS_clone3, vec![])]);
    Ok([
        compiled(refused, Errno::PERM)?,
        compiled(hidden, Errno::NOSYS)?,
    ])
}

fn compiled(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    answer: Errno,
) -> Result<BpfProgram, seccompiler::BackendError> {
    SeccompFilter::new(
        every_abi(rules),
        SeccompAction::Allow,
        SeccompAction::Errno(answer.raw_os_error().cast_unsigned()),
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()
}

/// The same rules for x86-64's second way to call, x32: other numbers for the same calls.
#[cfg(target_arch = "x86_64")]
fn every_abi(mut rules: BTreeMap<i64, Vec<SeccompRule>>) -> BTreeMap<i64, Vec<SeccompRule>> {
    const X32: i64 = 0x4000_0000;
    /// Calls whose x32 number differs by more than the bit.
    const OWN_NUMBERS: [(i64, i64); 9] = [
        (libc::SYS_ioctl, 514),
        (libc::SYS_ptrace, 521),
        (libc::SYS_rt_sigqueueinfo, 524),
        (libc::SYS_rt_tgsigqueueinfo, 536),
        (libc::SYS_kexec_load, 528),
        (libc::SYS_mq_notify, 527),
        (libc::SYS_move_pages, 533),
        (libc::SYS_process_vm_readv, 539),
        (libc::SYS_process_vm_writev, 540),
    ];
    let number = |call: i64| {
        let own = OWN_NUMBERS.iter().find(|(name, _)| *name == call);
        X32 | own.map_or(call, |(_, number)| *number)
    };
    let doubled: Vec<_> = rules
        .iter()
        .map(|(call, rules)| (number(*call), rules.clone()))
        .collect();
    rules.extend(doubled);
    rules
}

#[cfg(not(target_arch = "x86_64"))]
fn every_abi(rules: BTreeMap<i64, Vec<SeccompRule>>) -> BTreeMap<i64, Vec<SeccompRule>> {
    rules
}

/// Refused whatever their arguments are.
const REFUSED: &[i64] = &[
    // Sockets of every kind. A socket file such as Docker's or D-Bus's is a door out of any fence of files.
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    // Other processes' memory, files and limits.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // Leaving the process group, with which everything that a command began is ended.
    libc::SYS_setsid,
    libc::SYS_setpgid,
    // Calls that seccomp does not see.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // The owner's keys in the kernel, and memory shared with the owner's programs.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    // Names, owners, modes and times that Landlock does not watch over.
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    FCHMODAT2,
    SETXATTRAT,
    REMOVEXATTRAT,
    FILE_SETATTR,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    // Other views of the machine.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    // The kernel itself.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    libc::SYS_lookup_dcookie,
];

// Numbers that are the same on every processor and that not every C library has a name for yet.
const FCHMODAT2: i64 = 452;
const SETXATTRAT: i64 = 463;
const REMOVEXATTRAT: i64 = 466;
const OPEN_TREE_ATTR: i64 = 467;
const FILE_SETATTR: i64 = 469;

/// Older forms that this processor still has.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[i64] = &[
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
];

#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[i64] = &[294]; // kexec_file_load; musl has no name for it

/// A command that may change files may change modes, owners and times of files that it has open, which Landlock has let it open.
const ON_OPEN_FILES: [i64; 4] = [
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_fsetxattr,
    libc::SYS_fremovexattr,
];

/// Requests of `ioctl`: TIOCSTI, TIOCLINUX, FIOSETOWN, SIOCSPGRP.
const TYPED_OR_SIGNALLED: [i32; 4] = [0x5412, 0x541c, 0x8901, 0x8902];

/// Requests of `fcntl` that name a process to be signalled; the second is `F_SETOWN_EX`.
const SET_OWNER: [i32; 2] = [libc::F_SETOWN, 15];

const NAMESPACES: [i32; 8] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    0x80, // CLONE_NEWTIME
];

fn refused_calls(
    writable: bool,
) -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let mut calls: BTreeMap<i64, Vec<SeccompRule>> = REFUSED
        .iter()
        .chain(REFUSED_HERE)
        .map(|call| (*call, vec![]))
        .collect();
    if writable {
        calls.insert(libc::SYS_utimensat, vec![rule(&[named_file()?])?]);
    } else {
        calls.extend(ON_OPEN_FILES.map(|call| (call, vec![])));
        calls.insert(libc::SYS_utimensat, vec![]);
    }
    let mut some = |call: i64, any_of: &[(u8, SeccompCmpOp, i32)]| {
        let rules = any_of
            .iter()
            .map(|(at, compare, value)| rule(&[argument(*at, compare.clone(), *value)?]));
        calls.insert(call, rules.collect::<Result<_, _>>()?);
        Ok::<(), seccompiler::BackendError>(())
    };
    let ne = SeccompCmpOp::Ne;
    let flag = |flag: i32| {
        (
            0,
            SeccompCmpOp::MaskedEq(u64::from(flag.cast_unsigned())),
            flag,
        )
    };
    some(libc::SYS_clone, &NAMESPACES.map(flag))?;
    // A pair that is connected to itself alone; one of datagrams could be turned to any socket file.
    let kind = |kind: i32| (1, SeccompCmpOp::MaskedEq(0xf), kind);
    some(
        libc::SYS_socketpair,
        &[
            (0, ne.clone(), libc::AF_UNIX),
            kind(libc::SOCK_DGRAM),
            kind(libc::SOCK_RAW),
            kind(libc::SOCK_SEQPACKET),
        ],
    )?;
    // Typing into the owner's terminal, and signals for whoever is named.
    let eq = SeccompCmpOp::Eq;
    some(
        libc::SYS_ioctl,
        &TYPED_OR_SIGNALLED.map(|request| (1, eq.clone(), request)),
    )?;
    some(
        libc::SYS_fcntl,
        &SET_OWNER.map(|request| (1, eq.clone(), request)),
    )?;
    // Its own limits and priorities, nobody else's.
    some(libc::SYS_prlimit64, &[(0, ne.clone(), 0)])?;
    for call in [
        libc::SYS_sched_setaffinity,
        libc::SYS_sched_setscheduler,
        libc::SYS_sched_setparam,
        libc::SYS_sched_setattr,
    ] {
        some(call, &[(0, ne.clone(), 0)])?;
    }
    some(
        libc::SYS_setpriority,
        &[(0, ne.clone(), 0), (1, ne.clone(), 0)],
    )?;
    some(
        libc::SYS_ioprio_set,
        &[(0, ne.clone(), 1), (1, ne.clone(), 0)],
    )?;
    let other = [argument(0, ne.clone(), 0)?, argument(0, ne, -1)?]; // -1 only asks
    calls.insert(libc::SYS_personality, vec![rule(&other)?]);
    Ok(calls)
}

/// Lets sockets of TCP and UDP be made and connected. Nothing can be listened on, and sockets of every other kind stay refused.
fn open_network(
    calls: &mut BTreeMap<i64, Vec<SeccompRule>>,
) -> Result<(), seccompiler::BackendError> {
    let none_of = |at: u8, these: &[i32]| {
        let all = these
            .iter()
            .map(|value| argument(at, SeccompCmpOp::Ne, *value));
        rule(&all.collect::<Result<Vec<_>, _>>()?)
    };
    let mut rules = vec![
        none_of(0, &[libc::AF_INET, libc::AF_INET6])?,
        none_of(2, &[0, libc::IPPROTO_TCP, libc::IPPROTO_UDP])?,
    ];
    // The kind stands in the lowest four bits; besides 1, a stream, and 2, datagrams, there are raw ones and stranger things.
    for kind in (0..16).filter(|kind| ![libc::SOCK_STREAM, libc::SOCK_DGRAM].contains(kind)) {
        rules.push(rule(&[argument(1, SeccompCmpOp::MaskedEq(0xf), kind)?])?);
    }
    calls.insert(libc::SYS_socket, rules);
    calls.remove(&libc::SYS_connect);
    calls.remove(&libc::SYS_bind); // a client of UDP binds to any address; for TCP Landlock has the word
    Ok(())
}

/// Refuses every call that could signal the keeper, also where Landlock knows nothing of signals.
fn spare(
    keeper: i32,
    calls: &mut BTreeMap<i64, Vec<SeccompRule>>,
) -> Result<(), seccompiler::BackendError> {
    let is = |at: u8, value: i32| rule(&[argument(at, SeccompCmpOp::Eq, value)?]);
    // -1 is everyone whom this account can signal.
    let by_kill = vec![is(0, keeper)?, is(0, -keeper)?, is(0, -1)?];
    calls.insert(libc::SYS_kill, by_kill);
    for call in [
        libc::SYS_tkill,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_pidfd_open,
    ] {
        calls.insert(call, vec![is(0, keeper)?]);
    }
    for call in [libc::SYS_tgkill, libc::SYS_rt_tgsigqueueinfo] {
        calls.insert(call, vec![is(0, keeper)?, is(1, keeper)?]);
    }
    Ok(())
}

fn rule(all_of: &[SeccompCondition]) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(all_of.to_vec())
}

fn argument(
    at: u8,
    compare: SeccompCmpOp,
    value: i32,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    let value = u64::from(value.cast_unsigned());
    SeccompCondition::new(at, SeccompCmpArgLen::Dword, compare, value)
}

/// The call names a file, rather than one that is open.
fn named_file() -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(1, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn what_is_refused_is_refused_by_its_second_number_too() {
        let calls = every_abi(refused_calls(true).unwrap());
        for (name, call, own) in [
            ("socket", 41, 41),
            ("ptrace", 101, 521),
            ("ioctl", 16, 514),
            ("process_vm_readv", 310, 539),
        ] {
            let second = 0x4000_0000 + own;
            assert!(calls.contains_key(&call), "{name}");
            assert_eq!(calls.get(&second), calls.get(&call), "{name}");
        }
    }

    #[test]
    fn a_command_that_only_looks_changes_not_even_modes_and_dates() {
        let refused = |writable: bool, call: i64| {
            let rules = refused_calls(writable).unwrap().remove(&call);
            rules.is_some_and(|rules| rules.is_empty())
        };
        for call in ON_OPEN_FILES.into_iter().chain([libc::SYS_utimensat]) {
            assert!(refused(false, call), "{call}");
            assert!(!refused(true, call), "{call}");
        }
        assert!(refused(true, libc::SYS_fchmodat));
    }

    #[test]
    fn every_way_to_signal_the_keeper_is_refused_and_no_other() {
        let mut calls = refused_calls(true).unwrap();
        spare(77, &mut calls).unwrap();
        let eq = |at: u8, value: i32| {
            let named = argument(at, SeccompCmpOp::Eq, value).unwrap();
            rule(&[named]).unwrap()
        };
        let at_kill = vec![eq(0, 77), eq(0, -77), eq(0, -1)];
        assert_eq!(calls[&libc::SYS_kill], at_kill);
        assert_eq!(calls[&libc::SYS_tgkill], vec![eq(0, 77), eq(1, 77)]);
        for call in [
            libc::SYS_tkill,
            libc::SYS_rt_sigqueueinfo,
            libc::SYS_pidfd_open,
        ] {
            assert_eq!(calls[&call], vec![eq(0, 77)], "{call}");
        }
    }

    #[test]
    fn the_network_opens_two_kinds_of_sockets_and_no_server() {
        let mut calls = refused_calls(true).unwrap();
        open_network(&mut calls).unwrap();
        assert!(!calls.contains_key(&libc::SYS_connect));
        assert_eq!(calls[&libc::SYS_socket].len(), 16);
        for call in [libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4] {
            assert_eq!(calls.get(&call), Some(&vec![]), "{call}");
        }
        let told = enforced(7, true);
        assert!(told.contains("TCP and UDP that go out"), "{told}");
    }

    #[test]
    fn a_kernel_that_lets_signals_through_is_said_to() {
        assert!(enforced(4, false).contains("(Landlock 4), signals NOT (that needs Linux 6.12)"));
        assert!(enforced(7, false).contains("(Landlock 7), signals, no sockets"));
    }
}
