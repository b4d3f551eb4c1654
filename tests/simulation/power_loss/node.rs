//! What a disk holds of one file or directory: as it is seen, and what a loss of power may leave.

use std::collections::BTreeMap;

use crate::simulation::dice::Dice;

/// What is written whole or not at all.
const SECTOR: usize = 512;

/// What is left when the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Only what was synced.
    Synced,
    /// All that was written: only the process was killed, and what was not synced stays so.
    All,
    /// Whatever the seed draws.
    Drawn,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    File(File),
    Directory(Directory),
}

/// The bytes of a file.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) now: Vec<u8>,
    /// What it was at the last sync and after each write since; the disk may hold sectors of any.
    since_sync: Vec<Vec<u8>>,
    /// A sync has failed: what it lost is taken for written, and no sync writes it.
    has_lost: bool,
}

/// The names in a directory.
#[derive(Debug, Clone, Default)]
pub(super) struct Directory {
    pub(super) now: BTreeMap<String, usize>,
    synced: BTreeMap<String, usize>,
    /// What became of names since the last sync, in order.
    pending: Vec<(String, Option<usize>)>,
    /// A rename inside it is pending: it is done as a whole.
    has_rename: bool,
}

impl File {
    pub(super) fn new() -> Self {
        Self { now: Vec::new(), since_sync: vec![Vec::new()], has_lost: false }
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if self.now.len() < end {
            self.now.resize(end, 0);
        }
        self.now[at..end].copy_from_slice(bytes);
        self.since_sync.push(self.now.clone());
    }

    pub(super) fn sync(&mut self) {
        self.sync_first(self.writes());
    }

    /// How many writes there were since the last sync.
    pub(super) fn writes(&self) -> usize {
        self.since_sync.len() - 1
    }

    /// Makes so many of them durable.
    pub(super) fn sync_first(&mut self, writes: usize) {
        if !self.has_lost {
            self.since_sync.drain(..writes);
        }
    }

    /// A sync that fails: some of it was written.
    pub(super) fn fail_to_sync(&mut self, dice: &mut Dice) {
        let left = self.left(dice);
        self.has_lost = self.has_lost || left != self.now;
        self.since_sync = vec![left];
    }

    /// What is on the disk, if the power goes now. Returns whether something is lost.
    pub(super) fn lose_power(&mut self, how: Left, dice: &mut Dice) -> bool {
        let left = match (how, self.since_sync.first()) {
            (Left::All, _) => return false,
            (Left::Synced, Some(first)) => first.clone(),
            _ => self.left(dice),
        };
        let has_lost = left != self.now;
        *self = Self { now: left.clone(), since_sync: vec![left], has_lost: false };
        has_lost
    }

    fn left(&self, dice: &mut Dice) -> Vec<u8> {
        let of = &self.since_sync;
        if let [only] = &**of {
            return only.clone();
        }
        // All of it, nothing of it, or whatever sectors.
        match dice.below(4) {
            0 => return of[0].clone(),
            1 => return of[of.len() - 1].clone(),
            _ => {}
        }
        let mut left = vec![0; of[dice.index(of.len())].len()];
        for (at, sector) in left.chunks_mut(SECTOR).enumerate() {
            let from = &of[dice.index(of.len())];
            let start = (at * SECTOR).min(from.len());
            let end = (start + sector.len()).min(from.len());
            sector[..end - start].copy_from_slice(&from[start..end]);
        }
        left
    }
}

impl Directory {
    /// Gives a name to a node, or takes it away.
    pub(super) fn set(&mut self, name: &str, node: Option<usize>) {
        match node {
            Some(node) => self.now.insert(name.to_owned(), node),
            None => self.now.remove(name),
        };
        self.pending.push((name.to_owned(), node));
    }

    pub(super) fn rename_inside(&mut self, from: &str, to: &str, node: usize) {
        self.set(to, Some(node));
        self.set(from, None);
        self.has_rename = true;
    }

    pub(super) fn sync(&mut self) {
        self.synced = self.now.clone();
        self.pending.clear();
        self.has_rename = false;
    }

    /// Which names are on the disk, if the power goes now. Returns whether something is lost.
    pub(super) fn lose_power(&mut self, how: Left, dice: &mut Dice) -> bool {
        if how == Left::All {
            return false;
        }
        let mut left = std::mem::take(&mut self.synced);
        let mut pending = std::mem::take(&mut self.pending);
        if how == Left::Synced {
            pending.clear();
        }
        let upto = dice.index(pending.len() + 1);
        let mut stopped: Vec<&str> = Vec::new();
        for (at, (name, node)) in pending.iter().enumerate() {
            // Names are independent of each other; of one name, what came later is later.
            let is_done = match self.has_rename {
                true => at < upto,
                false => !stopped.contains(&&**name) && dice.chance(50),
            };
            match (is_done, node) {
                (false, _) => stopped.push(name),
                (true, Some(node)) => drop(left.insert(name.clone(), *node)),
                (true, None) => drop(left.remove(name)),
            }
        }
        let has_lost = left != self.now;
        *self = Self { now: left.clone(), synced: left, ..Self::default() };
        has_lost
    }
}
