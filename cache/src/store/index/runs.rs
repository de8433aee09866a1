//! An ordered set of entries that takes little more than their own bytes: sorted runs, in a tree. (The tree of the standard
//! library alone takes twice as much, since its nodes are two thirds full.)

use std::collections::BTreeMap;

use super::Entry;

/// A run has at most so many entries; one that has more is cut into two.
const MOST: usize = 128;
/// One that has fewer goes into the one before it, if that has room.
const FEW: usize = MOST / 4;
/// Runs grow by room for so many.
const ROOM: usize = 8;

/// Sorted runs by a lower bound of each, which lies above all entries of the one before it. None is empty.
#[derive(Debug, Default)]
pub(super) struct Runs {
    runs: BTreeMap<Entry, Vec<Entry>>,
}

impl Runs {
    /// Adds an entry, if it is not there yet.
    pub(super) fn insert(&mut self, entry: Entry) {
        let Some((_, run)) = self.runs.range_mut(..=entry).next_back() else {
            self.runs.insert(entry, vec![entry]);
            return;
        };
        let Err(at) = run.binary_search(&entry) else {
            return;
        };
        if run.len() == run.capacity() {
            run.reserve_exact(ROOM);
        }
        run.insert(at, entry);
        if run.len() > MOST {
            let upper = run.split_off(MOST / 2);
            run.shrink_to_fit();
            self.runs.insert(upper[0], upper);
        }
    }

    /// Takes an entry out, if it is there.
    pub(super) fn remove(&mut self, entry: Entry) {
        let Some((&from, run)) = self.runs.range_mut(..=entry).next_back() else {
            return;
        };
        let Ok(at) = run.binary_search(&entry) else {
            return;
        };
        run.remove(at);
        if run.capacity() > run.len() + 2 * ROOM {
            run.shrink_to(run.len() + ROOM);
        }
        if run.len() < FEW {
            self.join(from);
        }
    }

    /// A short run goes into the one before it. The first one stays by itself, and so do two that are too long together.
    fn join(&mut self, from: Entry) {
        let short = self.runs.get(&from).map_or(0, Vec::len);
        let before = self.runs.range(..from).next_back();
        let fits = before.is_some_and(|(_, run)| run.len() + short <= MOST);
        if !fits && short > 0 {
            return;
        }
        let short = self.runs.remove(&from).unwrap_or_default();
        if let Some((_, before)) = self.runs.range_mut(..from).next_back() {
            before.reserve_exact(short.len());
            before.extend(short);
        }
    }

    /// The entries from one to another, both included.
    pub(super) fn range(&self, from: Entry, to: Entry) -> impl Iterator<Item = Entry> {
        let first = self.runs.range(..=from).next_back();
        let first = first.map_or(from, |(bound, _)| *bound);
        let runs = self.runs.range(first..=to).map(|(_, run)| run);
        runs.flat_map(move |run| {
            let begin = run.partition_point(|entry| *entry < from);
            run[begin..].iter().copied()
        })
        .take_while(move |entry| *entry <= to)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.runs.values().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::{
        super::{Fact, WEIGHT},
        *,
    };

    fn entry(fact: u32, id: u64) -> Entry {
        Entry::new(Fact(fact), id)
    }

    /// Puts in and takes out by turns; more go in while it fills, and more go out later.
    fn mix(count: u64, of: u64) -> impl Iterator<Item = (bool, Entry)> {
        let spread = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (0..count).map(move |turn| {
            let number = spread(turn) >> 16;
            let id = spread(number % of);
            let fills = turn < count / 2;
            (
                (number / of).is_multiple_of(4) != fills,
                entry((id % 3) as u32, id),
            )
        })
    }

    #[test]
    fn runs_are_sound_and_dense() {
        let (mut runs, mut model) = (Runs::default(), BTreeSet::new());
        for (turn, (into, entry)) in mix(200_000, 20_000).enumerate() {
            if into {
                runs.insert(entry);
                model.insert(entry);
            } else {
                runs.remove(entry);
                model.remove(&entry);
            }
            if turn % 5000 == 0 {
                check(&runs, &model);
            }
        }
        assert!(model.len() > 1000, "{}", model.len());
        for entry in &model {
            runs.remove(*entry);
        }
        assert!(runs.runs.is_empty());
    }

    fn check(runs: &Runs, model: &BTreeSet<Entry>) {
        let mut bound = None;
        for (from, run) in &runs.runs {
            assert!(bound < Some(*from) && *from <= run[0] && run.is_sorted());
            assert!(run.len() <= MOST);
            bound = run.last().copied();
        }
        assert!(
            runs.range(entry(0, 0), entry(u32::MAX, u64::MAX))
                .eq(model.iter().copied())
        );
        // A slot of the tree, of which a third is free.
        let slot = size_of::<(Entry, Vec<Entry>)>() * 3 / 2;
        let bytes: usize = runs
            .runs
            .values()
            .map(|run| run.capacity() * size_of::<Entry>() + slot)
            .sum();
        assert!(
            model.len() < 5000 || bytes <= model.len() * WEIGHT,
            "{bytes} for {}",
            model.len()
        );
    }

    proptest! {
        #[test]
        fn runs_are_listed_between_any_two(
            ids in prop::collection::btree_set((0..3_u32, 0..400_u64), 0..600),
            from in (0..3_u32, 0..400_u64),
            to in (0..3_u32, 0..400_u64),
        ) {
            let mut runs = Runs::default();
            for (fact, id) in &ids {
                runs.insert(entry(*fact, *id));
            }
            prop_assert_eq!(runs.len(), ids.len());
            let (from, to) = (from.min(to), from.max(to));
            let listed = runs.range(entry(from.0, from.1), entry(to.0, to.1));
            prop_assert!(listed.eq(ids.range(from..=to).map(|(fact, id)| entry(*fact, *id))));
        }
    }
}
