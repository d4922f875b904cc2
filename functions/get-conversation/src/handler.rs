//! One conversation, with its messaging window.

use lambda_http::{Body, Request, Response, http::StatusCode};
use shared::{Error, Result, auth, clock, config::Claims, http, store::Store, view::ConversationView};

pub(crate) async fn handle(claims: &Claims, store: &Store, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, claims, auth::PEOPLE)?;
    let id = http::conversation_id(&request)?;
    let conversation = store.conversation(&caller.organization, &id).await?.ok_or(Error::ConversationNotFound)?;
    let view = ConversationView::load(store, &caller.organization, conversation, clock::now_ms()).await?;
    http::ok(StatusCode::OK, &view)
}
