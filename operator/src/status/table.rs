//! Objects as `kubectl get` prints them: the printer columns of the CRDs.

use coppice_api::{
    IsrRoute, IsrRouteStatus, RevalidationRequest, RevalidationRequestStatus, names::condition,
    status::Conditions,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Routes, each with the status to show.
pub fn routes<'a>(
    objects: impl IntoIterator<Item = (&'a IsrRoute, Option<&'a IsrRouteStatus>)>,
    now: Timestamp,
) -> String {
    let rows = objects.into_iter().map(|(route, status)| {
        let sidecars = status.and_then(|status| status.sidecars.as_ref());
        vec![
            name(&route.metadata),
            word(status, condition::READY),
            sidecars.map(|counts| counts.summary.clone()).unwrap_or_default(),
            age(&route.metadata, now),
        ]
    });
    table(&["NAME", "READY", "SIDECARS", "AGE"], rows)
}

/// Requests, each with the status to show.
pub fn requests<'a>(
    objects: impl IntoIterator<Item = (&'a RevalidationRequest, Option<&'a RevalidationRequestStatus>)>,
    now: Timestamp,
) -> String {
    let rows = objects.into_iter().map(|(request, status)| {
        let sidecars = status.and_then(|status| status.sidecars.as_ref());
        vec![
            name(&request.metadata),
            word(status, condition::ACKNOWLEDGED),
            word(status, condition::READY),
            sidecars.map(|counts| counts.summary.clone()).unwrap_or_default(),
            age(&request.metadata, now),
        ]
    });
    table(&["NAME", "ACKNOWLEDGED", "READY", "SIDECARS", "AGE"], rows)
}

fn name(meta: &ObjectMeta) -> String {
    meta.name.clone().unwrap_or_default()
}

fn word<T: Conditions>(status: Option<&T>, kind: &str) -> String {
    (status.and_then(|status| status.condition(kind)))
        .map(|condition| condition.status.clone())
        .unwrap_or_default()
}

fn age(meta: &ObjectMeta, now: Timestamp) -> String {
    match &meta.creation_timestamp {
        Some(created) => human(now.duration_since(created.0).as_secs()),
        None => "<unknown>".to_owned(),
    }
}

/// Seconds as kubectl writes an age: two units while the smaller one still says something.
fn human(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    let two = |large, unit, small, rest| match seconds % large / small {
        0 => format!("{}{unit}", seconds / large),
        remainder => format!("{}{unit}{remainder}{rest}", seconds / large),
    };
    match seconds {
        ..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(MINUTE, "m", 1, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(HOUR, "h", MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(DAY, "d", HOUR, "h"),
        _ => format!("{}d", seconds / DAY),
    }
}

/// Columns three spaces apart, as wide as their widest cell.
fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head = head.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = rows
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or_default();
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + 3 - cell.chars().count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
