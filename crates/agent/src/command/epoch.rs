//! The epoch gate: the highest epoch seen for each guest, kept over restarts.
//!
//! A command of a lower epoch comes from somebody who does not know yet that the guest's
//! owner has changed; obeying it could run the guest twice. So an epoch is on disk before
//! anything is done under it.
//!
//! Beside it stands under which epoch a migration away was begun, or was told to be over: an
//! agent that was restarted must not begin it anew.
//!
//! The file is a journal of lines `GUEST EPOCH`, or `GUEST EPOCH spent`, one `fdatasync` each,
//! because a resume waits for it while its guest stands still. It is rewritten, by an atomic rename, at start and
//! when it has grown. Guests are never forgotten: 100 bytes for each that was ever here.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use drover_lifecycle::{Admission, admission};
use drover_model::{Epoch, GuestId};

use crate::durable;

/// Lines that may be appended before the journal is rewritten: about half a megabyte.
const MAX_APPENDED: usize = 10_000;

/// The word of an entry that no migration may be begun under this epoch.
const SPENT: &str = "spent";

/// The highest epoch seen for each guest.
#[derive(Debug)]
pub struct EpochGate {
    journal: Mutex<Journal>,
}

/// Why a command may not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum EpochRefusal {
    /// A higher epoch has been seen.
    #[error("epoch {asked} is older than epoch {seen}, which this host has seen for the guest")]
    Stale {
        /// The command's.
        asked: Epoch,
        /// The highest seen.
        seen: Epoch,
    },
    /// It cannot be remembered, so nothing may be done under it.
    #[error("epoch {asked} cannot be made durable: {source}")]
    NotDurable {
        /// The command's.
        asked: Epoch,
        /// Why.
        source: io::Error,
    },
}

#[derive(Debug)]
struct Journal {
    path: PathBuf,
    file: File,
    /// Length up to which the file is whole lines.
    whole: u64,
    appended: usize,
    known: Known,
}

#[derive(Debug, Clone, Default)]
struct Known {
    /// The highest epoch seen.
    seen: BTreeMap<GuestId, Epoch>,
    /// The highest under which a migration must not be begun again.
    spent: BTreeMap<GuestId, Epoch>,
}

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Seen,
    Spent,
}

impl Known {
    const fn of(&mut self, entry: Entry) -> &mut BTreeMap<GuestId, Epoch> {
        match entry {
            Entry::Seen => &mut self.seen,
            Entry::Spent => &mut self.spent,
        }
    }
}

impl EpochGate {
    /// Opens the journal at `path`, or begins one.
    pub fn open(path: &Path) -> io::Result<Self> {
        let known = match std::fs::read_to_string(path) {
            Ok(text) => parse(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Known::default(),
            Err(error) => return Err(error),
        };
        Ok(Self { journal: Mutex::new(Journal::begin(path, known)?) })
    }

    /// Lets a command of `epoch` pass, and no lower one ever after. Blocks for the disk when
    /// the epoch is new.
    pub fn admit(&self, guest: GuestId, epoch: Epoch) -> Result<(), EpochRefusal> {
        let mut journal = self.journal();
        match admission(journal.known.seen.get(&guest).copied(), epoch) {
            Admission::Stale { seen } => Err(EpochRefusal::Stale { asked: epoch, seen }),
            Admission::Known => Ok(()),
            Admission::New => journal
                .append(guest, epoch, Entry::Seen)
                .map_err(|source| EpochRefusal::NotDurable { asked: epoch, source }),
        }
    }

    /// The highest epoch seen for a guest.
    pub fn seen(&self, guest: GuestId) -> Option<Epoch> {
        self.journal().known.seen.get(&guest).copied()
    }

    /// Lets no migration begin under this epoch, or an earlier one, ever after. Blocks for the
    /// disk.
    pub fn spend(&self, guest: GuestId, epoch: Epoch) -> io::Result<()> {
        let mut journal = self.journal();
        if journal.known.spent.get(&guest).is_some_and(|spent| *spent >= epoch) {
            return Ok(());
        }
        journal.append(guest, epoch, Entry::Spent)
    }

    /// Whether no migration may begin under this epoch any more.
    pub fn is_spent(&self, guest: GuestId, epoch: Epoch) -> bool {
        self.journal().known.spent.get(&guest).is_some_and(|spent| *spent >= epoch)
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal {
    fn begin(path: &Path, known: Known) -> io::Result<Self> {
        let mut text = String::new();
        for (epochs, entry) in [(&known.seen, Entry::Seen), (&known.spent, Entry::Spent)] {
            epochs.iter().for_each(|(guest, epoch)| text.push_str(&line(*guest, *epoch, entry)));
        }
        durable::replace(path, text.as_bytes(), 0o600)?;
        let file = OpenOptions::new().append(true).open(path)?;
        Ok(Self { path: path.to_owned(), file, whole: text.len() as u64, appended: 0, known })
    }

    fn append(&mut self, guest: GuestId, epoch: Epoch, entry: Entry) -> io::Result<()> {
        if self.appended >= MAX_APPENDED {
            *self = Self::begin(&self.path, self.known.clone())?;
        }
        let line = line(guest, epoch, entry);
        // A write that failed half-way has left part of a line.
        self.file.set_len(self.whole)?;
        self.file.write_all(line.as_bytes())?;
        self.file.sync_data()?;
        self.whole += line.len() as u64;
        self.appended += 1;
        self.known.of(entry).insert(guest, epoch);
        Ok(())
    }
}

fn line(guest: GuestId, epoch: Epoch, entry: Entry) -> String {
    match entry {
        Entry::Seen => format!("{guest} {epoch}\n"),
        Entry::Spent => format!("{guest} {epoch} {SPENT}\n"),
    }
}

/// The last line may be half: a crash came before anything was done under it.
fn parse(text: &str) -> io::Result<Known> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut known = Known::default();
    for (index, line) in whole.lines().enumerate() {
        let Some((guest, epoch, entry)) = read(line) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("line {} of the epoch journal is damaged: `{line}`", index + 1),
            ));
        };
        let highest = known.of(entry).entry(guest).or_insert(epoch);
        *highest = epoch.max(*highest);
    }
    Ok(known)
}

fn read(line: &str) -> Option<(GuestId, Epoch, Entry)> {
    let words: Vec<&str> = line.split(' ').collect();
    let (guest, epoch, entry) = match words.as_slice() {
        [guest, epoch] => (guest, epoch, Entry::Seen),
        [guest, epoch, SPENT] => (guest, epoch, Entry::Spent),
        _ => return None,
    };
    Some((guest.parse().ok()?, Epoch(epoch.parse().ok()?), entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: GuestId = GuestId::from_u128(1);

    fn open(directory: &tempfile::TempDir) -> EpochGate {
        EpochGate::open(&directory.path().join("epochs")).unwrap()
    }

    #[test]
    fn a_lower_epoch_is_refused_also_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let gate = open(&directory);
        for epoch in [3, 3, 5] {
            gate.admit(GUEST, Epoch(epoch)).unwrap();
        }
        for gate in [gate, open(&directory), open(&directory)] {
            let refusal = gate.admit(GUEST, Epoch(4)).unwrap_err();
            assert!(matches!(refusal, EpochRefusal::Stale { seen: Epoch(5), .. }), "{refusal}");
            gate.admit(GUEST, Epoch(5)).unwrap();
            gate.admit(GuestId::from_u128(2), Epoch(1)).unwrap();
        }
    }

    #[test]
    fn what_was_begun_is_known_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let gate = open(&directory);
        gate.admit(GUEST, Epoch(3)).unwrap();
        assert!(!gate.is_spent(GUEST, Epoch(3)));
        gate.spend(GUEST, Epoch(3)).unwrap();
        for gate in [gate, open(&directory), open(&directory)] {
            assert!(gate.is_spent(GUEST, Epoch(3)));
            assert!(!gate.is_spent(GUEST, Epoch(4)), "a later one may begin");
            assert_eq!(gate.seen(GUEST), Some(Epoch(3)));
        }
    }

    #[test]
    fn half_a_last_line_is_forgotten_and_damage_elsewhere_is_an_error() {
        let line = format!("{GUEST} 12\n");
        assert_eq!(parse(&format!("{line}{GUEST} 1")).unwrap().seen[&GUEST], Epoch(12));
        assert_eq!(parse(&format!("{line}{GUEST} 1\n")).unwrap().seen[&GUEST], Epoch(12));
        assert!(parse(&format!("nonsense\n{line}")).unwrap_err().to_string().contains("line 1"));
        assert!(parse("").unwrap().seen.is_empty());
    }

    #[test]
    fn the_journal_is_rewritten_before_it_grows_large() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("epochs");
        let gate = open(&directory);
        gate.journal().appended = MAX_APPENDED;
        gate.admit(GUEST, Epoch(1)).unwrap();
        gate.admit(GUEST, Epoch(2)).unwrap();
        assert_eq!(gate.journal().appended, 2);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
        assert_eq!(open(&directory).seen(GUEST), Some(Epoch(2)));
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[test]
    fn an_epoch_that_cannot_be_stored_is_not_admitted() {
        let directory = tempfile::tempdir().unwrap();
        let gate = open(&directory);
        gate.journal().file = File::open(directory.path().join("epochs")).unwrap();
        let refusal = gate.admit(GUEST, Epoch(1)).unwrap_err();
        assert!(matches!(refusal, EpochRefusal::NotDurable { .. }));
        assert_eq!(gate.seen(GUEST), None);
    }
}
