//! The demonstration app of Coppice as a program: `PORT=3000 coppice-demo`.

use std::{io, net::Ipv4Addr, process::ExitCode};

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

const HELP: &str = "\
A small blog whose pages show when they were rendered, for trying Coppice.

usage: PORT=3000 coppice-demo

It listens on 0.0.0.0:$PORT (default 3000) and shows $HOSTNAME as the pod that rendered.

  /  /blog/<slug>  /edit/<slug>      the blog; POST /edit/<slug> with the form field `text` changes a post
  /healthz                           200 while it runs
  /_demo/behaviour                   POST, GET, DELETE: script bad days
  /_demo/renders  /_demo/requests    how often each path was rendered; what the app was asked
  /_demo/echo  /_demo/events  /_demo/trailers  /_demo/upgrade

examples/demo/README.md describes the /_demo paths.
";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    if let Some(argument) = std::env::args().nth(1) {
        print!("{HELP}");
        return if argument == "--help" || argument == "-h" {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(2)
        };
    }
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coppice-demo: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> io::Result<()> {
    let port = match std::env::var("PORT") {
        Ok(text) => text
            .parse()
            .map_err(|_| io::Error::other(format!("PORT={text:?} is no port")))?,
        Err(_) => coppice_demo::DEFAULT_PORT,
    };
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .await
        .map_err(|error| io::Error::other(format!("failed to listen on port {port}: {error}")))?;
    println!("coppice-demo: listening on http://{}", listener.local_addr()?);

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let pod = std::env::var("HOSTNAME").unwrap_or_else(|_| "localhost".to_owned());
    coppice_demo::serve(listener, pod, stop).await;
    Ok(())
}
