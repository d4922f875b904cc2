//! Lists the messages of a conversation, newest first.

use std::collections::HashMap;

use futures_util::future::try_join_all;
use lambda_http::{Body, Request, Response};
use shared::{
    Error, Result, auth, clock,
    config::Claims,
    cursor, http,
    id::{MessageId, OrganizationId},
    store::{Message, Store},
    view::MessageView,
};

pub(crate) async fn handle(claims: &Claims, store: &Store, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, claims, auth::PEOPLE)?;
    let organization = &caller.organization;
    let id = http::conversation_id(&request)?;
    let limit = http::page_limit(&request)?;
    let query = format!("messages {id}");
    let before = match http::query_parameter(&request, "cursor") {
        Some(text) => Some(cursor::decode(organization, &query, &text)?.parse().map_err(|_| Error::InvalidCursor)?),
        None => None,
    };
    let conversation = store.conversation(organization, &id).await?.ok_or(Error::ConversationNotFound)?;

    let (messages, next) = store.messages(organization, &conversation.partitions(), before.as_ref(), limit).await?;

    let quoted = quoted(store, organization, &messages).await?;
    let now_ms = clock::now_ms();
    let mut views: Vec<_> =
        messages.into_iter().map(|message| MessageView::new(message, &conversation, now_ms)).collect();
    MessageView::resolve_quotes(&mut views, &quoted);
    let next = next.map(|position| cursor::encode(organization, &query, position.as_str()));
    http::ok_list(&views, limit, next.as_deref())
}

/// Our ids of the messages that these reply to, by the provider's: from the page itself, and looked up where it is older.
async fn quoted(
    store: &Store,
    organization: &OrganizationId,
    messages: &[Message],
) -> Result<HashMap<String, MessageId>> {
    let mut known: HashMap<String, MessageId> =
        messages.iter().filter_map(|message| Some((message.external_id.clone()?, message.id.clone()))).collect();
    let missing = messages.iter().filter(|message| message.reply_to.is_none());
    let missing =
        missing.filter_map(|message| message.reply_to_external.as_ref()).filter(|id| !known.contains_key(*id));
    let look_ups = missing.map(|external| async move {
        let found = store.message_by_external_id(organization, external).await?;
        Ok::<_, Error>(found.map(|(_, id)| (external.clone(), id)))
    });
    known.extend(try_join_all(look_ups.collect::<Vec<_>>()).await?.into_iter().flatten());
    Ok(known)
}
