//! Progress over random histories, beside a model.

use super::*;

/// What can happen to an open purge, in any order and any number of times.
#[derive(Debug, Clone)]
enum Event {
    Ack { pod: usize, enough: bool },
    Report { pod: usize, pages: u64, finished: bool },
    Gone { pod: usize },
    Reconnect { pod: usize, holds: bool },
}

fn event() -> impl Strategy<Value = Event> {
    let pod = 0..4_usize;
    prop_oneof![
        4 => (pod.clone(), any::<bool>()).prop_map(|(pod, enough)| Event::Ack { pod, enough }),
        4 => (pod.clone(), 0..5_u64, any::<bool>())
            .prop_map(|(pod, pages, finished)| Event::Report { pod, pages, finished }),
        1 => pod.clone().prop_map(|pod| Event::Gone { pod }),
        1 => (pod, any::<bool>()).prop_map(|(pod, holds)| Event::Reconnect { pod, holds }),
    ]
}

/// The obvious model of one target.
#[derive(Debug, Clone, Copy, Default)]
struct Model {
    acked: bool,
    finished: bool,
    pages: u64,
    gone: bool,
}

proptest! {
    /// Whatever the order, the repetition and the deletions: the counts are those of the obvious model, nothing that
    /// was true becomes false, and the purge is complete exactly when every pod that is left has done it.
    #[test]
    fn progress_is_true_in_any_order(events in prop::collection::vec(event(), 0..60)) {
        let pods = ["web-0", "web-1", "web-2"]; // pod 3 is no target
        let (index, mut purges) = world(&pods);
        let sequence = commit(&mut purges, &index, &mk_request("r", everything()), 0).line.sequence;
        let mut model = [Model::default(); 3];
        let mut complete = false;
        for (step, event) in events.iter().enumerate() {
            let now = at(1 + i64::try_from(step).unwrap());
            let uid = |pod: &usize| format!("uid-web-{pod}");
            let apply = |purges: &mut Purges| match event {
                Event::Ack { pod, enough } => {
                    purges.ack("shop", &uid(pod), if *enough { sequence } else { sequence - 1 }, now);
                }
                Event::Report { pod, pages, finished } => {
                    let report = Report { sequence, matched: *pages, regenerated: *pages, failed: 0, origin_cached: 0, finished: *finished };
                    purges.report("shop", &uid(pod), &report, now);
                }
                Event::Gone { pod } => {
                    purges.gone("shop", &uid(pod), now);
                }
                Event::Reconnect { pod, holds } => {
                    purges.connect("shop", &uid(pod), if *holds { sequence } else { 0 }, now);
                }
            };
            apply(&mut purges);
            let once = purges.facts(&name("r"), now);
            apply(&mut purges);
            prop_assert_eq!(&once, &purges.facts(&name("r"), now), "a second time changes nothing");

            if !complete {
                match *event {
                    Event::Ack { pod, enough: true } | Event::Reconnect { pod, holds: true } if pod < 3 => model[pod].acked = true,
                    Event::Report { pod, pages, finished } if pod < 3 && !model[pod].gone => {
                        model[pod].pages = model[pod].pages.max(pages);
                        model[pod].finished |= finished;
                    }
                    Event::Gone { pod } if pod < 3 => model[pod].gone = true,
                    _ => {}
                }
                complete = model.iter().all(|pod| pod.gone || (pod.acked && pod.finished));
            }
            let Some(Stage::Committed(facts)) = once.map(|facts| facts.stage) else {
                return Err(TestCaseError::fail("it has a line"));
            };
            let left = || model.iter().filter(|pod| !pod.gone);
            prop_assert_eq!(facts.targeted, left().count());
            prop_assert_eq!(facts.acknowledged, left().filter(|pod| pod.acked).count());
            prop_assert_eq!(facts.matched, model.iter().map(|pod| pod.pages).sum::<u64>());
            prop_assert_eq!(facts.completed.is_some(), complete);
            prop_assert_eq!(purges.open(), usize::from(!complete));
            prop_assert_eq!(facts.missing.is_empty(), complete);
        }
    }
}
