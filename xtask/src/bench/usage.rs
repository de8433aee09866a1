//! What a server's processes take: CPU time, and memory, summed over the process that was started and all its children.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

/// Ticks of `/proc/<pid>/stat` a second: 100 in every kernel's interface.
const TICKS: u64 = 100;

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    /// Resident, pages that processes share counted in each.
    pub(super) rss: u64,
    /// Resident, shared pages counted once.
    pub(super) pss: u64,
}

/// The process and all that descend from it.
pub(super) fn family(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(parent) = stat(pid).and_then(|stat| stat.get(1)?.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = BTreeSet::new();
    let mut left = vec![root];
    while let Some(pid) = left.pop() {
        if found.insert(pid) {
            left.extend(children.remove(&pid).unwrap_or_default());
        }
    }
    found.into_iter().collect()
}

/// User and system time of these processes since they began.
pub(super) fn cpu(processes: &[u32]) -> Duration {
    let ticks: u64 = processes.iter().filter_map(|pid| ticks(*pid)).sum();
    Duration::from_millis(ticks * (1000 / TICKS))
}

fn ticks(pid: u32) -> Option<u64> {
    let stat = stat(pid)?;
    let number = |at: usize| stat.get(at)?.parse::<u64>().ok();
    Some(number(11)? + number(12)?)
}

/// The fields of `/proc/<pid>/stat` behind the program's name, which may hold spaces: state, parent, …, utime, stime.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// Memory of these processes.
pub(super) fn memory(processes: &[u32]) -> Memory {
    let mut sum = Memory::default();
    for pid in processes {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        sum.rss += kilobytes(&text, "Rss:") << 10;
        sum.pss += kilobytes(&text, "Pss:") << 10;
    }
    sum
}

fn kilobytes(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_its_own_family_and_takes_something() {
        let me = std::process::id();
        assert!(family(me).contains(&me));
        let memory = memory(&[me]);
        assert!(memory.pss > 0 && memory.pss <= memory.rss);
        assert!(ticks(me).is_some());
    }
}
