//! Listeners on this machine, and what serves on them.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
};

use axum::{Router, serve::ListenerExt as _};
use emulator::connection;

use crate::error::{Error, Result};

const API: &str = "the HTTP API";

/// The three public listeners, on neighbouring ports.
pub(crate) fn listen(port: u16) -> Result<[TcpListener; 3]> {
    if port != 0 {
        return listen_from(listener(port, API)?);
    }
    let mut attempts = 0;
    loop {
        match listen_from(listener(0, API)?) {
            Err(Error::PortInUse { .. } | Error::Setting(_)) if attempts < 100 => attempts += 1,
            result => return result,
        }
    }
}

fn listen_from(api: TcpListener) -> Result<[TcpListener; 3]> {
    let address = api.local_addr().map_err(|source| Error::Listen { port: 0, what: API, source })?;
    let port = address.port();
    let too_high = || Error::Setting(format!("--port {port} leaves no room for the two ports after it"));
    let url = port.checked_add(1).ok_or_else(too_high)?;
    let provider = port.checked_add(2).ok_or_else(too_high)?;
    Ok([api, listener(url, "the webhook's Function URL")?, listener(provider, "the provider simulator")?])
}

pub(crate) fn private_listener(what: &'static str) -> Result<TcpListener> {
    listener(0, what)
}

fn listener(port: u16, what: &'static str) -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    listener.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::PortInUse { port, what },
        _ => Error::Listen { port, what, source },
    })
}

pub(crate) fn address(listener: &TcpListener) -> Result<String> {
    let address = listener.local_addr().map_err(|source| Error::Listen { port: 0, what: "a listener", source })?;
    Ok(format!("http://{address}"))
}

pub(crate) fn serve_private(router: Router, what: &'static str) -> Result<String> {
    let listener = private_listener(what)?;
    let endpoint = address(&listener)?;
    connection::serve(listener, router, what).map_err(|source| Error::Listen { port: 0, what, source })?;
    Ok(endpoint)
}

pub(crate) fn serve(listener: TcpListener, router: Router) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener).map_err(|source| Error::Listen {
        port: 0,
        what: "a listener",
        source,
    })?;
    let listener = listener.tap_io(|connection| {
        // Small answers must not wait for each other.
        if let Err(error) = connection.set_nodelay(true) {
            eprintln!("cannot set TCP_NODELAY: {error}");
        }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(())
}
