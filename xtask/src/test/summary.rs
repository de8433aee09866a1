//! How every step went, and the sum.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::process;

/// How many tests.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) ignored: u64,
}

impl Counts {
    /// Adds what a line of a test program says, if it is its last one:
    /// `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    pub(super) fn read(&mut self, line: &str) {
        let Some((_, counts)) = line
            .trim()
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for count in counts.split(';') {
            let mut words = count.split_whitespace();
            let (Some(number), Some(what)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// How a step went.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// It is good, and counts so many tests.
    Passed(Counts),
    /// Tests ran; the names of those that failed.
    Tests(Counts, Vec<String>),
    /// It failed as a whole, which counts as one failed test.
    Failed(String),
    /// It was left out, for a reason that is no failure.
    Skipped(String),
}

/// All steps so far.
#[derive(Debug, Default)]
pub(super) struct Summary {
    steps: Vec<(String, Duration, Outcome)>,
}

impl Summary {
    /// Adds a step that began then and ends now.
    pub(super) fn add(&mut self, name: &str, began: Instant, outcome: Outcome) {
        self.steps.push((name.to_owned(), began.elapsed(), outcome));
    }

    /// The sum of all tests, where a step that failed as a whole counts as one.
    fn total(&self) -> Counts {
        let mut total = Counts::default();
        for (_, _, outcome) in &self.steps {
            match outcome {
                Outcome::Passed(counts) | Outcome::Tests(counts, _) => {
                    total.passed += counts.passed;
                    total.failed += counts.failed;
                    total.ignored += counts.ignored;
                }
                Outcome::Failed(_) => total.failed += 1,
                Outcome::Skipped(_) => {}
            }
        }
        total
    }

    /// Prints the table and, as the last line, the sum.
    pub(super) fn print(&self) -> ExitCode {
        println!("\n=== summary");
        for (name, time, outcome) in &self.steps {
            println!("{name:<14}{:>8.1} s  {}", time.as_secs_f32(), describe(outcome));
        }
        let total = self.total();
        if process::interrupted() {
            println!("\ninterrupted");
        }
        println!("\n{} passed, {} failed", total.passed, total.failed);
        if total.failed == 0 && !process::interrupted() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Passed(counts) if *counts == Counts::default() => "ok".to_owned(),
        Outcome::Passed(counts) => format!("ok, {} passed", counts.passed),
        Outcome::Tests(counts, failed) => {
            let mut text = format!("ok, {} passed", counts.passed);
            if counts.failed > 0 {
                let names = failed.join(", ");
                text = format!(
                    "FAILED, {} passed, {} failed: {names}",
                    counts.passed, counts.failed
                );
            }
            if counts.ignored > 0 {
                text = format!("{text}, {} ignored", counts.ignored);
            }
            text
        }
        Outcome::Failed(why) => {
            format!("FAILED: {}", why.lines().next().unwrap_or_default())
        }
        Outcome::Skipped(why) => format!("left out: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_programs_last_line_counts() {
        let mut counts = Counts::default();
        counts.read("running 4 tests");
        counts.read("test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 9 filtered out; finished in 0.01s");
        counts.read("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!(
            counts,
            Counts {
                passed: 4,
                failed: 1,
                ignored: 2
            }
        );
    }

    #[test]
    fn a_step_that_fails_as_a_whole_counts_as_one() {
        let mut summary = Summary::default();
        let counts = Counts {
            passed: 2,
            failed: 0,
            ignored: 0,
        };
        summary.add("unit", Instant::now(), Outcome::Tests(counts, Vec::new()));
        summary.add("clippy", Instant::now(), Outcome::Failed("warnings".to_owned()));
        summary.add("chart", Instant::now(), Outcome::Skipped("no Go".to_owned()));
        assert_eq!((summary.total().passed, summary.total().failed), (2, 1));
    }
}
