//! `files.save`: a file that its owner gave, put on this machine: received beside its place, known by its hash, then given its name.
//!
//! Until the file is here whole nothing has begun: a call that is cut off before leaves nothing behind and may be made again. What a crash
//! leaves of one goes when a file next comes beside it, a day later.

use crate::intake::{Inflow, Intake};
use crate::places::{self, NoPlace, Place, visible};
use crate::policy::Policy;
use crate::tools::figures::size;
use crate::tools::files_send::{FromTool, Piece};
use crate::tools::target::{half_name, known, rename_into, sweep, sync};
use crate::tools::{Hands, Job, broken, now};
use crate::undo::{Deed, Spot};
use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt};
use hmac_sha256::Hash;
use protocol::ToWorker;
use protocol::call::{FileRef, Outcome};
use protocol::key::hex;
use protocol::tools::{FilesSave, GIVEN, given_id};
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;
use tokio::runtime::Handle;

/// The longest name, in bytes, that a file brings with it: room for a number, and for what the disk's names may have.
const NAME_LIMIT: usize = 200;

/// How many files of one name there may be.
const NUMBERS: u32 = 99;

/// Who may read what was given: its owner, until they say otherwise.
const MODE: u32 = 0o600;

enum Halt {
    /// The place may not be written to.
    No(NoPlace),
    /// The connection is gone or the call is called off.
    CutOff,
    /// There is no such file (any more).
    Missing,
    /// It is not the file that the call names, or not what was announced.
    Damaged(String),
    /// Its pieces stopped coming.
    Stopped(String),
}

/// A file in the making, beside its place and under a name of ours; gone with the value, or after a crash a day later, unless it has taken its place.
struct Half {
    dir: Dir,
    name: String,
    file: File,
}

/// Receives a file and puts it where it shall lie.
pub async fn run(job: Job, wanted: FilesSave, mut intake: Intake) -> Outcome {
    let clock = Handle::current();
    let saved = tokio::task::spawn_blocking(move || {
        let saved = save(&job, &wanted, &mut intake, &clock);
        say_marks_back(&job, intake);
        match saved {
            Ok(text) => Outcome::done(text),
            Err(halt) => halt.told(&wanted),
        }
    });
    saved.await.unwrap_or_else(|_| broken())
}

impl From<NoPlace> for Halt {
    fn from(no: NoPlace) -> Self {
        Self::No(no)
    }
}

impl Halt {
    fn told(self, wanted: &FilesSave) -> Outcome {
        match self {
            Self::No(no) => no.into(),
            Self::CutOff => Outcome::Cancelled,
            Self::Missing => Outcome::failed(format!(
                "there is no file '{}' (any more); the person can attach it again",
                visible(&wanted.file)
            )),
            Self::Damaged(name) => Outcome::failed(format!(
                "'{name}' arrived damaged and was not kept; try again"
            )),
            Self::Stopped(name) => Outcome::failed(format!(
                "'{name}' stopped coming half-way and was not kept; try again"
            )),
        }
    }
}

fn save(
    job: &Job,
    wanted: &FilesSave,
    intake: &mut Intake,
    clock: &Handle,
) -> Result<String, Halt> {
    // What is refused by its place alone is refused before a byte travels.
    destination(&job.policy, &wanted.to, "a.file")?.above_new()?;
    let turn = std::sync::Arc::clone(&intake.turn);
    let mut cancelled = job.cancelled.clone();
    let _turn = clock.block_on(async {
        tokio::select! {
            turn = turn.lock() => Ok(turn),
            _ = cancelled.wait_for(|cancelled| *cancelled) => Err(Halt::CutOff),
        }
    })?;
    let call = job.order.call.clone();
    push(job, ToWorker::Want { call })?;
    let file = match next(intake, clock, "the file")? {
        Inflow::Start(file) => file,
        Inflow::Missing => return Err(Halt::Missing),
        Inflow::Bytes { .. } | Inflow::Mark(_) => return Err(Halt::CutOff),
    };
    let name = safe_name(&file.name);
    if wanted.file.starts_with(GIVEN) && wanted.file != given_id(&file.sha256) {
        return Err(Halt::Damaged(name)); // other bytes than the call was signed for
    }
    let place = destination(&job.policy, &wanted.to, &name)?;
    let mut half = Half::beside(&place)?;
    receive(job, intake, clock, (&file, &name), (&place, &mut half))?;
    may_begin(job, intake, clock)?;
    let lies = put(job, &place, &half)?;
    Ok(format!(
        "saved to {} ({}, sha256 {}…)",
        lies.shown(),
        size(file.size),
        &file.sha256[..16]
    ))
}

/// The file's bytes, all of them, on the disk and known by their hash.
fn receive(
    job: &Job,
    intake: &mut Intake,
    clock: &Handle,
    (file, name): (&FileRef, &str),
    (place, half): (&Place<'_>, &mut Half),
) -> Result<(), Halt> {
    let (mut hash, mut came) = (Hash::new(), 0);
    while came < file.size {
        match next(intake, clock, name)? {
            Inflow::Bytes { bytes, .. } => {
                hash.update(&bytes);
                half.file
                    .write_all(&bytes)
                    .map_err(|error| place.refusal(error))?;
                came += bytes.len() as u64;
            }
            Inflow::Mark(mark) => {
                push(job, ToWorker::Read { mark })?;
            }
            Inflow::Start(_) | Inflow::Missing => return Err(Halt::CutOff),
        }
    }
    if hex(&hash.finalize()) != file.sha256 {
        return Err(Halt::Damaged(name.to_owned()));
    }
    half.file
        .sync_all()
        .map_err(|error| Halt::No(place.refusal(error)))
}

/// Waits for the word that the call counts as begun from now on: what follows is done once, whatever becomes of the line.
fn may_begin(job: &Job, intake: &mut Intake, clock: &Handle) -> Result<(), Halt> {
    let received = FromTool::Received {
        call: job.order.call.clone(),
        attempt: job.order.attempt,
    };
    job.courier
        .pieces
        .blocking_send(received)
        .map_err(|_| Halt::CutOff)?;
    clock
        .block_on(intake.go.wait_for(|go| *go))
        .map(|_| ())
        .map_err(|_| Halt::CutOff)
}

/// Marks that came and were not needed any more: the Worker counts them, and sends nothing else before they are back.
fn say_marks_back(job: &Job, mut intake: Intake) {
    intake.inflow.close(); // what comes from here on is said back where it comes
    while let Ok(inflow) = intake.inflow.try_recv() {
        if let Inflow::Mark(mark) = inflow {
            push(job, ToWorker::Read { mark }).ok(); // without a line there is nobody who counts
        }
    }
}

/// Gives the file a name that nothing has yet.
fn put<'a>(job: &Job, wanted: &Place<'a>, half: &Half) -> Result<Place<'a>, Halt> {
    let hands = Hands {
        policy: &job.policy,
        undo: &job.undo,
        trash: &crate::tools::files_trash::Trash::own(),
        call: &job.order.call,
        now: now(),
    };
    let mut changes = hands.begin();
    let place = free(wanted)?;
    let above = place.above_new()?;
    let metadata = half.file.metadata().map_err(|error| place.refusal(error))?;
    let metadata = half
        .looked_at(&metadata)
        .map_err(|error| place.refusal(error))?;
    let what = known(&half.dir, OsStr::new(&half.name), &metadata)
        .map_err(|error| place.refusal(error))?;
    let made = place.unmade(&above);
    let mut deeds: Vec<Deed> = made.iter().map(|at| Deed::Made(Spot::of(at))).collect();
    deeds.push(Deed::Restored {
        at: Spot::of(&place),
        what,
    });
    let plan = hands.plan(format!("files.save {}", place.shown()), deeds);
    changes.make(&plan, || {
        let (dir, name) = place.make(above)?;
        rename_into(&place, (&half.dir, OsStr::new(&half.name)), (&dir, name))
            .and_then(|()| sync(&dir))
            .map_err(|error| place.refusal(error))
    })?;
    Ok(place.clone())
}

/// The place of a file: in the folder that is named, under the name that it brings, or where it is said to lie.
fn destination<'a>(policy: &'a Policy, to: &str, name: &str) -> Result<Place<'a>, NoPlace> {
    let place = places::find(&policy.roots, to)?;
    // A last part without an ending, where the file has one, is meant as a folder: people and models say `Inbox` as often as `Inbox/`.
    let is_bare = place.path.extension().is_none() && Path::new(name).extension().is_some();
    let is_folder = to.ends_with('/')
        || place.path == Path::new(".")
        || match place.open_dir() {
            Ok(_) => true,
            Err(_) => is_bare && place.open_file().is_err(),
        };
    Ok(if is_folder { place.below(name) } else { place })
}

/// A place, or the first beside it with a number in its name, where nothing lies.
fn free<'a>(wanted: &Place<'a>) -> Result<Place<'a>, NoPlace> {
    let mut place = wanted.clone();
    for number in 2..=NUMBERS {
        let above = place.above_new()?;
        let taken = above.missing.is_empty()
            && match above.dir.symlink_metadata(Path::new(above.name)) {
                Ok(_) => true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(place.refusal(error)),
            };
        drop(above);
        if !taken {
            return Ok(place);
        }
        place.path = wanted.path.with_file_name(numbered(&wanted.path, number));
    }
    Err(NoPlace::Refused(format!(
        "'{}' is there already, and so are {NUMBERS} more of that name",
        wanted.shown()
    )))
}

/// `invoice (2).pdf`
fn numbered(path: &Path, number: u32) -> OsString {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!(" ({number})"));
    if let Some(ending) = path.extension() {
        name.push(".");
        name.push(ending);
    }
    name
}

/// A name that a file brought with it, as one that is safe to give: one part of a path, nothing hidden in it, not hidden, not too long.
fn safe_name(brought: &str) -> String {
    let last = brought.rsplit(['/', '\\']).next().unwrap_or_default();
    let seen = last
        .chars()
        .filter(|c| visible(&c.to_string()) == c.to_string());
    let seen: String = seen.collect();
    let seen = seen
        .trim()
        .trim_start_matches('.')
        .trim_end_matches('.')
        .trim();
    let (stem, ending) = match seen.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() && ending.len() <= 16 => (stem, ending),
        Some(_) | None => (seen, ""),
    };
    let room = NAME_LIMIT - ending.len() - 1;
    let stem = stem[..stem.floor_char_boundary(room.min(stem.len()))].trim_end();
    match (stem, ending) {
        ("", _) => "file".to_owned(),
        (stem, "") => stem.to_owned(),
        (stem, ending) => format!("{stem}.{ending}"),
    }
}

fn next(intake: &mut Intake, clock: &Handle, name: &str) -> Result<Inflow, Halt> {
    match clock.block_on(intake.next()) {
        Ok(Some(inflow)) => Ok(inflow),
        Ok(None) => Err(Halt::CutOff),
        Err(_) => Err(Halt::Stopped(name.to_owned())),
    }
}

fn push(job: &Job, frame: ToWorker) -> Result<(), Halt> {
    let piece = FromTool::Piece {
        call: job.order.call.clone(),
        attempt: job.order.attempt,
        piece: Piece::Start(frame),
    };
    job.courier
        .pieces
        .blocking_send(piece)
        .map_err(|_| Halt::CutOff)
}

impl Half {
    /// An empty file in the innermost folder on the way to a place that is there, readable for its owner alone.
    fn beside(place: &Place<'_>) -> Result<Self, NoPlace> {
        let dir = place.above_new()?.dir;
        if let Err(error) = sweep(&dir) {
            tracing::debug!("half files could not be swept: {error}");
        }
        let name = half_name().map_err(|error| place.refusal(error))?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(MODE);
        let file = dir
            .open_with(&name, &options)
            .map_err(|error| place.refusal(error))?;
        Ok(Self { dir, name, file })
    }

    /// What lies under its name, if that is still itself.
    fn looked_at(&self, own: &cap_std::fs::Metadata) -> io::Result<cap_std::fs::Metadata> {
        use cap_std::fs::MetadataExt;
        let there = self.dir.symlink_metadata(&self.name)?;
        if (there.dev(), there.ino(), there.len()) == (own.dev(), own.ino(), own.len()) {
            return Ok(there);
        }
        Err(io::Error::other(
            "another program has meddled with it while it came",
        ))
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        self.dir.remove_file(&self.name).ok(); // it is there no more once it has taken its place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::target::STALE;
    use crate::tools::world::World;
    use protocol::session::Access;
    use std::fs;
    use std::time::{Duration, SystemTime};

    #[test]
    fn half_files_that_a_crash_left_go_when_a_file_comes_beside_them_a_day_later() {
        for access in [Access::Append, Access::Write] {
            let world = World::with(access);
            let old = SystemTime::now() - STALE - Duration::from_secs(1);
            let ours = ".AAAAAAAAAAAAAAAAAAAA-_.half";
            let stay = [
                ".BBBBBBBBBBBBBBBBBBBBBB.half",
                ".CCCCCCCCCCCCCCCCCCCCC.half",
                ".DDDDDDDDDDDDDDDDDDDD\u{e9}.half",
                "AAAAAAAAAAAAAAAAAAAAAA.half",
            ];
            for name in [ours].iter().chain(&stay) {
                world.put(name, "half");
                if !name.starts_with(".B") {
                    let file = fs::File::open(world.path(name)).unwrap();
                    file.set_modified(old).unwrap();
                }
            }
            let linked = ".LLLLLLLLLLLLLLLLLLLLLL.half";
            std::os::unix::fs::symlink("nowhere", world.path(linked)).unwrap();
            let place = places::find(&world.policy.roots, "new/file.pdf").unwrap();
            let half = Half::beside(&place).unwrap();
            drop(half);
            let left = [
                (stay[0], "half"),
                (stay[1], "half"),
                (stay[2], "half"),
                (linked, "-> nowhere"),
                (stay[3], "half"),
            ];
            assert_eq!(world.tree(), left);
        }
    }
}
