//! Bytes for fuzz tests: entries of a corpus, changed in the ways that break parsers. `COPPICE_FUZZ_CASES` says how many
//! each target tries; the tests of every day try [`CASES`].

use proptest::{
    collection::vec, prelude::*, sample::Index, sample::select, strategy::Strategy, test_runner::Config,
};

/// What each target tries by default.
pub const CASES: u32 = 4_000;

/// How many cases to try, and no files left behind.
pub fn cases() -> Config {
    let told = std::env::var("COPPICE_FUZZ_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    Config {
        cases: told.unwrap_or(CASES),
        failure_persistence: None,
        ..Config::default()
    }
}

#[derive(Debug, Clone)]
enum Change {
    Put(Index, u8),
    Insert(Index, &'static [u8]),
    Remove(Index, usize),
    Repeat(Index, usize, usize),
    Splice(Index, &'static [u8]),
    Swap(Index, Index),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let at = |index: &Index, bytes: &[u8]| index.index(bytes.len() + 1);
        match self {
            Self::Put(index, byte) if !bytes.is_empty() => {
                let at = index.index(bytes.len());
                bytes[at] = *byte;
            }
            Self::Insert(index, token) => {
                let at = at(index, bytes);
                bytes.splice(at..at, token.iter().copied());
            }
            Self::Remove(index, count) => {
                let at = at(index, bytes);
                let end = (at + count).min(bytes.len());
                bytes.drain(at..end);
            }
            Self::Repeat(index, count, times) => {
                let at = at(index, bytes);
                let end = (at + count).min(bytes.len());
                let again = bytes[at..end].repeat(*times);
                bytes.splice(at..at, again);
            }
            Self::Splice(index, other) => {
                let at = at(index, bytes);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[at.min(other.len())..]);
            }
            Self::Swap(one, other) if !bytes.is_empty() => {
                let (one, other) = (one.index(bytes.len()), other.index(bytes.len()));
                bytes.swap(one, other);
            }
            Self::Put(..) | Self::Swap(..) => {}
        }
    }
}

/// An entry of `corpus`, changed up to eight times, with `words` as what is put in.
pub fn mutated(
    corpus: &'static [&'static [u8]],
    words: &'static [&'static [u8]],
) -> impl Strategy<Value = Vec<u8>> {
    let place = any::<Index>();
    let change = prop_oneof![
        (place.clone(), any::<u8>()).prop_map(|(at, byte)| Change::Put(at, byte)),
        (place.clone(), select(words)).prop_map(|(at, word)| Change::Insert(at, word)),
        (place.clone(), 1_usize..16).prop_map(|(at, count)| Change::Remove(at, count)),
        (place.clone(), 1_usize..16, 1_usize..20)
            .prop_map(|(at, count, times)| Change::Repeat(at, count, times)),
        (place.clone(), select(corpus)).prop_map(|(at, other)| Change::Splice(at, other)),
        (place.clone(), place).prop_map(|(one, other)| Change::Swap(one, other)),
    ];
    (select(corpus), vec(change, 0..8)).prop_map(|(entry, changes)| {
        let mut bytes = entry.to_vec();
        for change in changes {
            change.apply(&mut bytes);
        }
        bytes
    })
}
