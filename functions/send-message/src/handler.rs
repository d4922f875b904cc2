//! Sends a reply on the conversation's platform, or leaves an internal note.

use lambda_http::{Body, Request, Response, http::StatusCode};
use serde::Deserialize;
use shared::{
    Error, Result,
    auth::{self, Caller},
    clock,
    config::Claims,
    dialog360::{Failure, Provider, Recipient, text_limit},
    event::{Customer, ProviderError},
    http,
    id::{ConversationId, MessageId},
    inbound::callback_data,
    message::Status,
    platform::Platform,
    store::{
        Answer, Begun, ConnectionStatus, Conversation, Integration, KEY_REFUSED, KEY_UNREADABLE, Message, MessageType,
        Note, Outcome, Reply, Store, Writing,
    },
    vault::{self, Vault},
    view::MessageView,
    window::window,
};
use tracing::{error, warn};

/// The longest note, in characters.
const NOTE_MAX_CHARACTERS: usize = 4096;
const IDEMPOTENCY_KEY: &str = "idempotency-key";
const IDEMPOTENCY_KEY_MAX_BYTES: usize = 64;

/// What sending takes.
pub(crate) struct Sending {
    pub(crate) claims: Claims,
    pub(crate) store: Store,
    pub(crate) vault: Vault,
    pub(crate) provider: Provider,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SendMessageRequest {
    text: String,
    #[serde(rename = "type")]
    message_type: Option<MessageType>,
    reply_to: Option<String>,
}

pub(crate) async fn handle(sending: &Sending, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, &sending.claims, auth::PEOPLE)?;
    // The id of the path, also where it has become an alias: an idempotency key stays with the path that it was used on.
    let id = http::conversation_id(&request)?;
    let key = idempotency_key(&request)?;
    let body: SendMessageRequest = http::body(&request, http::BODY_MAX_BYTES)?;
    if body.text.trim().is_empty() {
        return Err(Error::invalid_body("`text` is empty", "text"));
    }
    let conversation =
        sending.store.conversation(&caller.organization, &id).await?.ok_or(Error::ConversationNotFound)?;
    match body.message_type.unwrap_or(MessageType::Message) {
        MessageType::InternalNote => note(sending, &caller, &conversation, &id, &key, body).await,
        MessageType::Message => reply(sending, &caller, &conversation, &id, &key, body).await,
    }
}

fn idempotency_key(request: &Request) -> Result<String> {
    let key = request.headers().get(IDEMPOTENCY_KEY).and_then(|key| key.to_str().ok()).map(str::trim);
    let usable = |key: &&str| {
        (1..=IDEMPOTENCY_KEY_MAX_BYTES).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    };
    key.filter(usable).map(str::to_owned).ok_or(Error::IdempotencyKeyRequired)
}

async fn note(
    sending: &Sending,
    caller: &Caller,
    conversation: &Conversation,
    id: &ConversationId,
    key: &str,
    body: SendMessageRequest,
) -> Result<Response<Body>> {
    if body.text.chars().count() > NOTE_MAX_CHARACTERS {
        return Err(Error::TextTooLong { limit: NOTE_MAX_CHARACTERS, unit: "characters" });
    }
    let note = Note { text: body.text };
    let now_us = clock::now_us();
    let writing = Writing { conversation: id, operator: &caller.user, key };
    let begun = sending.store.begin_note(&caller.organization, writing, &note, now_us).await?;
    let (Begun::New(message) | Begun::Before(message)) = begun;
    answer(message, conversation)
}

async fn reply(
    sending: &Sending,
    caller: &Caller,
    conversation: &Conversation,
    id: &ConversationId,
    key: &str,
    body: SendMessageRequest,
) -> Result<Response<Body>> {
    let organization = &caller.organization;
    let platform = conversation.channel.platform().ok_or(Error::ChannelNotSendable)?;
    let limit = text_limit(platform);
    if !limit.allows(&body.text) {
        return Err(Error::TextTooLong { limit: limit.limit, unit: limit.unit });
    }
    let reply = Reply { reply_to: quoted(sending, caller, conversation, body.reply_to).await?, text: body.text };
    // A repeated request gets its first answer, whatever has happened to integration and window since.
    let before = sending.store.used_reply(organization, id, key, &reply, clock::now_ms()).await?;
    if let Some(message) = before {
        return answer(message, conversation);
    }
    let integration = sending.store.integration(organization, platform).await?;
    let integration = integration.filter(|integration| {
        integration.status == ConnectionStatus::Connected && integration.credentials.account == conversation.account_id
    });
    let integration = integration.ok_or(Error::NotConnected)?;
    let now_us = clock::now_us();
    let window = window(conversation.channel, conversation.last_inbound_at, now_us / 1000);
    if !window.open {
        return Err(Error::WindowClosed { allowed: window.allowed, closed_at: window.closes_at });
    }
    let sealed = &integration.credentials.sealed_key;
    let api_key = match sending.vault.open(organization, platform, sealed).await {
        Ok(api_key) => api_key,
        Err(error) if vault::is_unreadable(&error) => {
            error!("{}", http::causes(&error));
            sending.store.mark_refused(&integration, KEY_UNREADABLE, now_us / 1000).await?;
            return Err(Error::NotConnected);
        }
        Err(error) => return Err(error),
    };

    let writing = Writing { conversation: id, operator: &caller.user, key };
    let message = match sending.store.begin_reply(organization, conversation, writing, &reply, now_us).await? {
        Begun::Before(message) => return answer(message, conversation),
        Begun::New(message) => message,
    };
    let customer = customer(conversation);
    let recipient = Recipient { platform, account: &integration.credentials.account, customer: &customer };
    let sent = sending.provider.send(&recipient, &api_key, &reply, &callback_data(id, &message.id)).await;
    if sent == Err(Failure::Unauthorized) {
        refuse(sending, &integration).await;
    }
    let outcome = outcome(sent.map(|sent| sent.external_id), platform);
    match sending.store.finish_reply(organization, &message, &outcome, clock::now_ms()).await {
        Ok(message) => {
            if let (Platform::Instagram, Some(external_id)) = (platform, &message.external_id) {
                // Instagram names a message by its id alone: it may have been read before we knew that id.
                sending.store.apply_parked(organization, id, &message.id, external_id).await?;
            }
            answer(message, conversation)
        }
        Err(error) => {
            error!("the outcome of a send was not stored: {}", http::causes(&error));
            answer(Message { answer: Some(Answer::Unknown), ..message }, conversation)
        }
    }
}

async fn quoted(
    sending: &Sending,
    caller: &Caller,
    conversation: &Conversation,
    reply_to: Option<String>,
) -> Result<Option<(MessageId, Option<String>)>> {
    let Some(text) = reply_to else { return Ok(None) };
    let id = text.parse().map_err(|_| Error::MessageNotFound)?;
    let message = sending.store.message_of(&caller.organization, &conversation.partitions(), &id).await?;
    let message = message.ok_or(Error::MessageNotFound)?;
    Ok(Some((message.id, message.external_id)))
}

fn customer(conversation: &Conversation) -> Customer {
    Customer {
        phone: conversation.customer_phone.clone(),
        user_id: conversation.customer_user_id.clone(),
        ..Customer::default()
    }
}

/// The provider no longer takes the key: an admin has to know.
async fn refuse(sending: &Sending, integration: &Integration) {
    if let Err(error) = sending.store.mark_refused(integration, KEY_REFUSED, clock::now_ms()).await {
        error!("an integration was not marked as refused: {}", http::causes(&error));
    }
}

fn outcome(sent: Result<String, Failure>, platform: Platform) -> Outcome {
    let failed = |answer, error: ProviderError| {
        warn!(metric = "send_failed", count = 1, %platform, provider.code = error.code, "a reply was not sent");
        Outcome { answer, status: Status::Failed, external_id: None, error: Some(error) }
    };
    let error = |code: &str, title: &str| ProviderError { code: code.into(), title: title.into(), details: None };
    match sent {
        Ok(external_id) => {
            Outcome { answer: Answer::Accepted, status: Status::Accepted, external_id: Some(external_id), error: None }
        }
        Err(Failure::Unknown) => {
            Outcome { answer: Answer::Unknown, status: Status::Unknown, external_id: None, error: None }
        }
        Err(Failure::Rejected(error)) => failed(Answer::Rejected, error),
        Err(Failure::Unauthorized) => failed(Answer::Rejected, error("401", "the API key is no longer valid")),
        Err(Failure::RateLimited { .. }) => failed(Answer::Unavailable, error("429", "too many messages at once")),
        Err(Failure::Unreachable) => {
            failed(Answer::Unavailable, error("UNREACHABLE", "the provider cannot be reached"))
        }
        Err(Failure::Unavailable) => failed(Answer::Unavailable, error("UNAVAILABLE", "the provider is out of order")),
    }
}

/// The first answer to the request that made this message, with the message as it is now.
fn answer(message: Message, conversation: &Conversation) -> Result<Response<Body>> {
    let about = || {
        let error = message.error.clone().unwrap_or_default();
        (Some(message.id.to_string()), error.code, error.details.unwrap_or(error.title))
    };
    match message.answer {
        Some(Answer::Rejected) => {
            let (message_id, code, title) = about();
            return Err(Error::ProviderRejected { message_id, code, title });
        }
        Some(Answer::Unavailable) => {
            let (message_id, code, title) = about();
            return Err(Error::ProviderUnavailable { message_id, code: Some(code), title: Some(title) });
        }
        Some(Answer::Accepted | Answer::Unknown) | None => {}
    }
    let status = if message.answer == Some(Answer::Accepted) { StatusCode::CREATED } else { StatusCode::ACCEPTED };
    http::ok(status, &MessageView::new(message, conversation, clock::now_ms()))
}
