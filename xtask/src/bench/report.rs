//! What was measured, as a Markdown table of medians and as JSON with every round.

use std::collections::BTreeMap;

use clap::ValueEnum as _;
use serde::Serialize;

use super::client::Waits;
use super::peers::Peer;

/// What a number says.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Metric {
    /// Answers in a second.
    Rate,
    /// CPU time of the server for one request.
    Cpu,
    P50,
    P99,
    /// Resident memory, shared pages counted in each process.
    Rss,
    /// Resident memory, shared pages counted once.
    Pss,
    /// What a page takes beside its body.
    PageBytes,
    /// From the start of the program to its first answer.
    FirstAnswer,
    /// From a purge to the first new page.
    PurgeTime,
    /// CPU time of the server for one purge.
    PurgeCpu,
    /// What the app was asked.
    Asked,
}

impl Metric {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "requests/s",
            Self::Cpu => "CPU µs a request",
            Self::P50 => "p50 µs",
            Self::P99 => "p99 µs",
            Self::Rss => "RSS MiB",
            Self::Pss => "PSS MiB",
            Self::PageBytes => "bytes beside the body",
            Self::FirstAnswer => "ms to the first answer",
            Self::PurgeTime => "ms until the page is new",
            Self::PurgeCpu => "CPU ms a purge",
            Self::Asked => "requests to the app",
        }
    }
}

/// What a median should be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal {
    /// At most this share of each of these peers'.
    Share(&'static [Peer], f64),
    /// At most this.
    Most(f64),
}

#[derive(Debug, Serialize)]
struct Row {
    case: String,
    metric: Metric,
    rounds: BTreeMap<Peer, Vec<f64>>,
    #[serde(skip)]
    goal: Option<Goal>,
}

/// Everything that was measured in one run.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// The machine, the versions, the load while it ran.
    pub(super) about: Vec<String>,
    rows: Vec<Row>,
    remarks: Vec<String>,
}

impl Report {
    /// What visitors of our own waited in one round.
    pub(super) fn waits(&mut self, case: &str, peer: Peer, waits: &Waits) {
        let micros = |percent| waits.percentile(percent).as_secs_f64() * 1e6;
        self.add(case, Metric::Rate, peer, waits.rate());
        self.add(case, Metric::P50, peer, micros(50));
        self.add(case, Metric::P99, peer, micros(99));
    }

    /// Adds one round's number.
    pub(super) fn add(&mut self, case: &str, metric: Metric, peer: Peer, value: f64) {
        let known = self
            .rows
            .iter()
            .position(|row| row.case == case && row.metric == metric);
        let at = known.unwrap_or_else(|| {
            self.rows.push(Row {
                case: case.to_owned(),
                metric,
                rounds: BTreeMap::new(),
                goal: None,
            });
            self.rows.len() - 1
        });
        self.rows[at].rounds.entry(peer).or_default().push(value);
    }

    /// Says what a row should come to.
    pub(super) fn goal(&mut self, case: &str, metric: Metric, goal: Goal) {
        let rows = self.rows.iter_mut();
        for row in rows.filter(|row| row.case == case && row.metric == metric) {
            row.goal = Some(goal);
        }
    }

    /// Says what a number does not.
    pub(super) fn remark(&mut self, text: String) {
        eprintln!("  {text}");
        if !self.remarks.contains(&text) {
            self.remarks.push(text);
        }
    }

    /// The table.
    pub(super) fn table(&self) -> String {
        let peers: Vec<Peer> = (Peer::value_variants().iter().copied())
            .filter(|peer| self.rows.iter().any(|row| row.rounds.contains_key(peer)))
            .collect();
        let mut lines = vec![vec!["case".to_owned(), "measure".to_owned()]];
        lines[0].extend(peers.iter().map(|peer| peer.as_str().to_owned()));
        lines[0].push("goal".to_owned());
        let mut last = "";
        for row in &self.rows {
            let case = if row.case == last { "" } else { &row.case };
            last = &row.case;
            let mut line = vec![case.to_owned(), row.metric.as_str().to_owned()];
            line.extend(peers.iter().map(|peer| row.cell(*peer)));
            line.push(row.judged());
            lines.push(line);
        }
        let mut text = aligned(&lines);
        for remark in &self.remarks {
            text.extend(["\n- ", remark]);
        }
        text
    }
}

impl Row {
    fn median(&self, peer: Peer) -> Option<f64> {
        let mut values = self.rounds.get(&peer)?.clone();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        Some(if values.len() % 2 == 1 {
            upper
        } else {
            f64::midpoint(upper, values[middle - 1])
        })
    }

    /// The median; for others than the first also how many times the first's it is.
    fn cell(&self, peer: Peer) -> String {
        let Some(own) = self.median(peer) else {
            return String::new();
        };
        let text = number(own);
        match self.median(Peer::Coppice) {
            Some(first) if peer != Peer::Coppice && first > 0.0 => {
                format!("{text} (×{:.2})", own / first)
            }
            _ => text,
        }
    }

    fn judged(&self) -> String {
        let (Some(goal), Some(own)) = (self.goal, self.median(Peer::Coppice)) else {
            return String::new();
        };
        let word = |most| if own <= most { "met" } else { "missed" };
        match goal {
            Goal::Most(most) => format!("≤ {}: {}", number(most), word(most)),
            Goal::Share(peers, share) => {
                let measured = peers.iter().filter_map(|peer| Some((peer, self.median(*peer)?)));
                let judged =
                    measured.map(|(peer, theirs)| format!("{}: {}", peer.as_str(), word(theirs * share)));
                let mut judged: Vec<_> = judged.collect();
                if judged.is_empty() {
                    judged.extend(peers.iter().map(|peer| peer.as_str().to_owned()));
                }
                format!("≤ {share:.2} × {}", judged.join(", "))
            }
        }
    }
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        100.0..10_000.0 => format!("{value:.0}"),
        _ => {
            let whole = value.round() as i64;
            format!("{},{:03}", whole / 1000, whole.abs() % 1000)
        }
    }
}

/// A Markdown table whose columns line up, so that it reads in a terminal too.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let wide = |at: usize| {
        lines
            .iter()
            .map(|line| line[at].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(wide).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            let filling = width.saturating_sub(cell.chars().count());
            text.extend(["| ", cell, &" ".repeat(filling + 1)]);
        }
        text += "|\n";
        if number == 0 {
            for width in &widths {
                text.extend(["|", &"-".repeat(width + 2)]);
            }
            text += "|\n";
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_ratios_and_goals_are_in_the_table() {
        let mut report = Report::default();
        for value in [5.0, 7.0, 6.0] {
            report.add("hit", Metric::Cpu, Peer::Coppice, value);
            report.add("hit", Metric::Cpu, Peer::Nginx, value * 2.5);
            report.add("hit", Metric::Cpu, Peer::NginxPlain, value * 1.5);
        }
        report.add("hit", Metric::Rate, Peer::Coppice, 123_456.0);
        report.goal(
            "hit",
            Metric::Cpu,
            Goal::Share(&[Peer::Nginx, Peer::NginxPlain], 0.5),
        );
        let table = report.table();
        assert!(table.contains("| 6.00 "), "{table}");
        assert!(table.contains("15.0 (×2.50)"), "{table}");
        assert!(
            table.contains("≤ 0.50 × nginx: met, plain nginx: missed"),
            "{table}"
        );
        assert!(table.contains("123,456"), "{table}");
    }

    #[test]
    fn numbers_have_three_digits_that_count() {
        let texts = [1.0, 12.34, 123.4, 9_999.0, 52_999.6, 1_234_567.0].map(number);
        assert_eq!(texts, ["1.00", "12.3", "123", "9999", "53,000", "1234,567"]);
    }

    #[test]
    fn a_goal_that_is_missed_says_so() {
        let mut report = Report::default();
        report.add("idle", Metric::Rss, Peer::Coppice, 16.0);
        report.goal("idle", Metric::Rss, Goal::Most(15.0));
        assert!(report.table().contains("≤ 15.0: missed"));
        // Nobody was there to be compared with.
        report.goal("idle", Metric::Rss, Goal::Share(&[Peer::Nginx], 0.5));
        assert!(report.table().contains("≤ 0.50 × nginx |"), "{}", report.table());
    }
}
