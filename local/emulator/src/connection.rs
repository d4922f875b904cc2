//! Connections that can be cut in the middle of a call, for what plays a service that fails.

use std::{io, net::TcpListener, time::Duration};

use axum::{Router, body::Body, http::Request, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::sleep};
use tower::ServiceExt as _;

/// Marks a response that must not be sent: its connection is cut instead.
#[derive(Debug, Clone)]
struct Cut;

/// A response that cuts the connection.
#[must_use]
pub fn cut() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Cut);
    response
}

/// Serves on `listener`; `what` is for the terminal, where that fails.
///
/// # Errors
/// When the listener is unusable.
pub fn serve(listener: TcpListener, router: Router, what: &'static str) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(connection(stream, router.clone()))),
                Err(error) => {
                    eprintln!("{what} cannot accept a connection: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(())
}

async fn connection(stream: TcpStream, router: Router) {
    // Small answers must not wait for each other.
    if let Err(error) = stream.set_nodelay(true) {
        eprintln!("cannot set TCP_NODELAY: {error}");
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let response = router.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {});
            if response.extensions().get::<Cut>().is_some() {
                return Err(io::Error::from(io::ErrorKind::ConnectionAborted));
            }
            Ok(response)
        }
    });
    // A connection that ends in an error was cut, by us on purpose or by the other side.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}
