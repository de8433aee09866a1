//! What runs, for people and for programs.

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use super::state::{Component, Run};
use super::up;
use crate::tools::Tools;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    state: State,
    kubeconfig: std::path::PathBuf,
    network_namespace: &'static str,
    node_ready: bool,
    components: Vec<ComponentStatus>,
}

/// In one word.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Running,
    Broken,
    Stopped,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Broken => "broken",
            Self::Stopped => "stopped",
        }
    }
}

#[derive(Serialize)]
struct ComponentStatus {
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    log: std::path::PathBuf,
}

/// Prints the status; succeeds where the cluster can be used.
pub(super) fn print(run: &Run, tools: &Tools, json: bool) -> Result<ExitCode> {
    let status = read(run, tools);
    if json {
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        show(&status);
    }
    Ok(match status.state {
        State::Running => ExitCode::SUCCESS,
        State::Broken | State::Stopped => ExitCode::FAILURE,
    })
}

fn read(run: &Run, tools: &Tools) -> Status {
    let components: Vec<_> = Component::ALL
        .into_iter()
        .map(|component| ComponentStatus {
            name: component.as_str(),
            pid: run.process(component).map(|process| process.pid),
            log: run.log(component),
        })
        .collect();
    let alive = components.iter().filter(|one| one.pid.is_some()).count();
    let node_ready = alive > 0 && up::node_ready(run, tools);
    let state = match alive {
        0 if !Run::exists() => State::Stopped,
        all if all == components.len() && node_ready => State::Running,
        _ => State::Broken,
    };
    Status {
        state,
        kubeconfig: run.kubeconfig(),
        network_namespace: super::netns::NAME,
        node_ready,
        components,
    }
}

fn show(status: &Status) {
    println!("cluster     {}", status.state.as_str());
    if status.state == State::Stopped {
        return;
    }
    println!(
        "node        {}",
        if status.node_ready { "ready" } else { "not ready" }
    );
    println!("kubeconfig  {}", status.kubeconfig.display());
    println!(
        "network     nsenter --net=/run/netns/{}",
        status.network_namespace
    );
    for component in &status.components {
        let running = match component.pid {
            Some(pid) => format!("running, process {pid}"),
            None => format!("not running, log {}", component.log.display()),
        };
        println!("  {:<20} {running}", component.name);
    }
}
