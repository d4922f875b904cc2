//! Sends a reply on the conversation's platform, or leaves an internal note.

use lambda_http::{Body, Request, Response, http::StatusCode};
use serde::Deserialize;
use shared::{
    Error, Result,
    auth::{self, Caller},
    clock,
    config::Claims,
    content::is_blank,
    dialog360::{Failure, Provider, Recipient, text_limit},
    event::{Customer, ProviderError},
    http,
    id::{ConversationId, MessageId},
    inbound::callback_data,
    message::{Standing, Status},
    metrics,
    platform::Platform,
    store::{
        Answer, Begun, ConnectionStatus, Conversation, Credentials, ExternalId, Integration, KEY_REFUSED,
        KEY_UNREADABLE, Message, MessageType, Note, Outcome, Reply, Store, Told, Writing, unique_name,
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
    resend_of: Option<String>,
}

pub(crate) async fn handle(sending: &Sending, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, &sending.claims, auth::PEOPLE)?;
    // The id of the path, also where it has become an alias: an idempotency key stays with the path that it was used on.
    let id = http::conversation_id(&request)?;
    let key = idempotency_key(&request)?;
    let body: SendMessageRequest = http::body(&request, http::BODY_MAX_BYTES)?;
    if is_blank(&body.text) {
        return Err(Error::invalid_body("`text` is empty", "text"));
    }
    let conversation =
        sending.store.conversation(&caller.organization, &id).await?.ok_or(Error::ConversationNotFound)?;
    match body.message_type.unwrap_or(MessageType::Message) {
        MessageType::InternalNote => note(sending, &caller, &conversation, &id, &key, body).await,
        MessageType::Message => Box::pin(reply(sending, &caller, &conversation, &id, &key, body)).await,
    }
}

/// The request's key. Without one, the request is a message of its own: it gets a key that no other has.
fn idempotency_key(request: &Request) -> Result<String> {
    let Some(key) = request.headers().get(IDEMPOTENCY_KEY) else { return unique_name() };
    let key = key.to_str().ok().map(str::trim);
    let usable = |key: &&str| {
        (1..=IDEMPOTENCY_KEY_MAX_BYTES).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    };
    key.filter(usable).map(str::to_owned).ok_or(Error::InvalidIdempotencyKey)
}

async fn note(
    sending: &Sending,
    caller: &Caller,
    conversation: &Conversation,
    id: &ConversationId,
    key: &str,
    body: SendMessageRequest,
) -> Result<Response<Body>> {
    if body.resend_of.is_some() {
        return Err(Error::invalid_body("a note is not sent: there is nothing to send again", "resendOf"));
    }
    if body.text.chars().count() > NOTE_MAX_CHARACTERS {
        return Err(Error::TextTooLong { limit: NOTE_MAX_CHARACTERS, unit: "characters" });
    }
    let note = Note { text: body.text };
    let now_us = clock::now_us();
    let writing = Writing { conversation: id, operator: &caller.user, key };
    let begun = sending.store.begin_note(&caller.organization, conversation, writing, &note, now_us).await?;
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
    let reply_to = quoted(sending, caller, conversation, body.reply_to).await?;
    let resend_of = resent(sending, caller, conversation, body.resend_of).await?;
    let reply = Reply { text: body.text, reply_to, resend_of };
    // A repeated request gets its first answer, whatever has happened to integration and window since.
    let before = sending.store.used_reply(organization, id, key, &reply, clock::now_ms()).await?;
    if let Some(message) = before {
        return answer(message, conversation);
    }
    if let Some(first) = reply.resend_of.as_deref().filter(|first| !is_resendable(first)) {
        return Err(Error::NotResendable { message_id: first.id.to_string() });
    }
    let integration = sending.store.integration(organization, platform).await?.ok_or(Error::NotConnected)?;
    // The reply would come from another account than the one that the customer wrote to.
    if integration.credentials.account != conversation.account_id {
        return Err(Error::AccountReplaced);
    }
    if integration.status != ConnectionStatus::Connected {
        return Err(Error::NotConnected);
    }
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
    let Credentials { account, is_page_token: by_page, .. } = &integration.credentials;
    let recipient = Recipient { platform, account, by_page: *by_page, customer: &customer };
    let sent = sending
        .provider
        .send(&recipient, &api_key, &reply, &callback_data(&message.conversation_id, &message.id))
        .await;
    if sent == Err(Failure::Unauthorized) {
        refuse(sending, &integration).await;
    }
    if sent.is_ok()
        && let Err(error) = sending.store.took_message(&integration, clock::now_ms()).await
    {
        error!("that an account can send again was not noted: {}", http::causes(&error));
    }
    let name = |id| ExternalId { channel: conversation.channel, account: conversation.account_id.clone(), id };
    if let Err(Failure::Rejected(refused)) = &sent
        && let Some(told) = Told::refused_send(refused, clock::now_ms())
        && let Err(error) = sending.store.tell(organization, platform, account, &[told]).await
    {
        error!("what a refusal says of the account was not noted: {}", http::causes(&error));
    }
    let outcome = outcome(sent.map(|sent| name(sent.external_id)), platform);
    metrics::sent(platform, &outcome);
    match sending.store.finish_reply(organization, &message, &outcome, clock::now_ms()).await {
        Ok(message) => answer(message, conversation),
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
) -> Result<Option<(MessageId, String)>> {
    let Some(text) = reply_to else { return Ok(None) };
    let id = text.parse().map_err(|_| Error::MessageNotFound)?;
    let message = sending.store.message_of(&caller.organization, &conversation.partitions(), &id).await?;
    let message = message.ok_or(Error::MessageNotFound)?;
    let problem = "`replyTo` is a message that the provider does not have and cannot quote: send the reply without it";
    let external_id = message.external_id.ok_or_else(|| Error::invalid_body(problem, "replyTo"))?;
    Ok(Some((message.id, external_id)))
}

/// The message that is to be sent again.
async fn resent(
    sending: &Sending,
    caller: &Caller,
    conversation: &Conversation,
    resend_of: Option<String>,
) -> Result<Option<Box<Message>>> {
    let Some(text) = resend_of else { return Ok(None) };
    let id = text.parse().map_err(|_| Error::MessageNotFound)?;
    let message = sending.store.message_of(&caller.organization, &conversation.partitions(), &id).await?;
    message.map(|message| Some(Box::new(message))).ok_or(Error::MessageNotFound)
}

fn is_resendable(first: &Message) -> bool {
    first.resent_as.is_none() && first.standing(clock::now_ms()).is_some_and(Standing::is_resendable)
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

fn outcome(sent: Result<ExternalId, Failure>, platform: Platform) -> Outcome {
    let failed = |answer, error: ProviderError| {
        warn!(%platform, provider.code = error.code, "a reply was not sent");
        Outcome { answer, status: Status::Failed, external_id: None, error: Some(error) }
    };
    let error =
        |code: &str, title: &str| ProviderError { code: code.into(), title: title.into(), ..ProviderError::default() };
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::{message::Direction, store::HealthStatus};
    use testbed::{
        call::{Answer as Answered, Call, claims},
        engine::{Fault, Table},
        given::{Account, anna, at, inbound},
        provider::{Asked, MockProvider},
        vault::vault,
    };

    use super::*;

    const EVENT: &str = include_str!("../../../events/send-message.json");
    const TEXT: &str = "Yes, we have it in M and L.";
    const SEND: &str = "POST /messages";

    fn taken(external_id: &str) -> (u16, Value) {
        (200, json!({ "messaging_product": "whatsapp", "messages": [{ "id": external_id }] }))
    }

    /// A connected account that a customer has just written to, and everything that a reply takes.
    struct Stage {
        table: Table,
        account: Account,
        conversation: Conversation,
        provider: MockProvider,
        sending: Sending,
    }

    impl Stage {
        /// With a provider that gives these answers.
        async fn of(answers: impl IntoIterator<Item = (u16, Value)>) -> Self {
            Self::at(Table::open().await, answers).await
        }

        async fn at(table: Table, answers: impl IntoIterator<Item = (u16, Value)>) -> Self {
            let (account, (vault, _), store) = (Account::whatsapp(), vault().await, table.store());
            let key = vault.seal(&account.organization, account.platform, &"the-key".into()).await.unwrap();
            account.connected(&store, key, 0).await;
            let conversation = account.hears(&store, &anna(), "m1").await;
            let provider = MockProvider::answering(answers).await;
            let sending = Sending { claims: claims(), vault, provider: provider.client(), store };
            Self { table, account, conversation, provider, sending }
        }

        /// The event, about the conversation.
        fn call(&self) -> Call {
            Call::of(EVENT).from(&self.account.organization).path("conversationId", self.conversation.id.as_str())
        }

        async fn answer(&self, call: Call) -> Answered {
            Answered::to(handle(&self.sending, call.request()).await)
        }

        /// What the conversation holds that the customer did not write.
        async fn outbound(&self) -> Vec<Message> {
            let mut thread = self.account.thread(&self.table.store(), &self.conversation).await;
            thread.retain(|message| message.direction == Direction::Outbound);
            thread
        }

        async fn integration(&self) -> Integration {
            let store = self.table.store();
            store.integration(&self.account.organization, self.account.platform).await.unwrap().unwrap()
        }
    }

    #[tokio::test]
    async fn a_reply_leaves_once_and_is_stored_with_what_came_of_it() {
        let stage = Stage::of([taken("wamid.A1")]).await;

        let answer = stage.answer(stage.call()).await;
        let again = stage.answer(stage.call()).await;

        let [message] = &stage.outbound().await[..] else { panic!("one message") };
        let body = json!({
            "messaging_product": "whatsapp", "recipient_type": "individual", "to": "491713920012", "type": "text",
            "text": { "body": TEXT, "preview_url": true },
            "biz_opaque_callback_data": callback_data(&stage.conversation.id, &message.id),
        });
        assert_eq!(stage.provider.asked(), [Asked { call: SEND.into(), key: "the-key".into(), body }]);
        assert_eq!((answer.status, &answer.body["data"]["status"]), (201, &json!("accepted")));
        assert_eq!((again.status, &again.body["data"]), (201, &answer.body["data"]));
        assert_eq!((message.status, message.external_id.as_deref()), (Some(Status::Accepted), Some("wamid.A1")));
        assert_eq!(message.operator_id.as_deref(), Some("ann"));
        assert_eq!(stage.account.only(&stage.table.store()).await.last_message_text, TEXT);
    }

    #[tokio::test]
    async fn without_a_key_each_request_is_a_message() {
        let stage = Stage::of([taken("wamid.A1"), taken("wamid.A2")]).await;
        let call = stage.call().header("idempotency-key", "");
        let note = call.clone().body(&json!({ "text": "Regular customer", "type": "internal_note" }));

        for call in [&call, &call, &note, &note] {
            assert_eq!(stage.answer(call.clone()).await.status, 201);
        }

        assert_eq!(stage.outbound().await.len(), 4);
        assert_eq!(stage.provider.calls(), [SEND, SEND]);
    }

    #[tokio::test]
    async fn a_reply_that_cannot_be_stored_does_not_leave() {
        // Conversation, key and integration are read first; each attempt to store is followed by a look at the key.
        const FIRST_ATTEMPT: usize = 3;
        let stage = Stage::at(Table::without_retries().await, []).await;

        stage.table.meter.start((FIRST_ATTEMPT..100).step_by(2).map(|call| (call, Fault::Before)));
        let answer = stage.answer(stage.call()).await;

        assert_eq!(answer.refusal(), (503, "UNAVAILABLE"));
        let calls = stage.table.meter.stop().calls;
        let (reads, attempts) = calls.split_at(FIRST_ATTEMPT);
        assert_eq!(reads, ["GetItem"; FIRST_ATTEMPT]);
        assert!(attempts.chunks(2).all(|pair| pair == ["TransactWriteItems", "GetItem"]), "{attempts:?}");
        assert_eq!((stage.provider.calls(), stage.outbound().await), (vec![], vec![]));
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_neither_stored_nor_sent() {
        let stage = Stage::of([]).await;
        let store = stage.table.store();
        let with = |body: Value| stage.call().body(&body);
        let late = Account { organization: stage.account.organization.clone(), ..Account::whatsapp() };
        late.receives(&store, 1, vec![inbound(&anna(), "m0", 0)]).await;
        let closed = late.conversation(&store, &anna()).await;
        let other = Account::whatsapp();
        let refused = [
            (with(json!({ "text": "x".repeat(4097) })), (422, "TEXT_TOO_LONG")),
            (with(json!({ "text": TEXT, "replyTo": "1" })), (404, "MESSAGE_NOT_FOUND")),
            (stage.call().path("conversationId", closed.id.as_str()), (409, "ACCOUNT_REPLACED")),
            (stage.call().from(&other.organization), (404, "CONVERSATION_NOT_FOUND")),
        ];

        for (call, refusal) in refused {
            assert_eq!(stage.answer(call).await.refusal(), refusal);
        }
        store.disconnect(&stage.account.organization, stage.account.platform, "ann", at(1)).await.unwrap();
        assert_eq!(stage.answer(stage.call()).await.refusal(), (409, "NOT_CONNECTED"));
        let call = stage.call().path("conversationId", closed.id.as_str());
        assert_eq!(stage.answer(call).await.refusal(), (409, "ACCOUNT_REPLACED"), "connecting would not help it");

        assert_eq!((stage.provider.calls(), stage.outbound().await), (vec![], vec![]));
    }

    #[tokio::test]
    async fn what_the_provider_does_not_have_cannot_be_quoted() {
        let stage = Stage::of([]).await;
        let note = stage.answer(stage.call().body(&json!({ "text": "Asked.", "type": "internal_note" }))).await;
        let call = stage.call().header("idempotency-key", "another");

        let answer = stage.answer(call.body(&json!({ "text": TEXT, "replyTo": note.body["data"]["id"] }))).await;

        assert_eq!(answer.refusal(), (400, "INVALID_BODY"));
        assert_eq!(answer.body["error"]["details"]["field"], "replyTo");
        assert_eq!(stage.provider.calls(), [""; 0]);
    }

    #[tokio::test]
    async fn a_day_after_the_customers_last_message_nothing_is_sent() {
        let mut stage = Stage::of([]).await;
        let customer = Customer { phone: Some("491713920099".into()), ..Customer::default() };
        stage.account.receives(&stage.table.store(), 1, vec![inbound(&customer, "m0", 0)]).await;
        stage.conversation = stage.account.conversation(&stage.table.store(), &customer).await;

        let answer = stage.answer(stage.call()).await;

        assert_eq!(answer.refusal(), (422, "WINDOW_CLOSED"));
        assert_eq!(answer.body["error"]["details"]["allowed"], json!(["template"]));
        assert_eq!((stage.provider.calls(), stage.outbound().await), (vec![], vec![]));
    }

    #[tokio::test]
    async fn what_cannot_be_taken_is_refused_before_anything_is_read_or_sent() {
        let stage = Stage::of([]).await;
        let event = || Call::of(EVENT);
        let mut refused: Vec<_> =
            event().by_strangers(&["admin", "operator"]).into_iter().map(|(call, code)| (call, (403, code))).collect();
        refused.extend([
            (event().path("conversationId", "1"), (404, "CONVERSATION_NOT_FOUND")),
            (event().header("idempotency-key", &"x".repeat(65)), (400, "INVALID_IDEMPOTENCY_KEY")),
            (event().header("idempotency-key", "two words"), (400, "INVALID_IDEMPOTENCY_KEY")),
            (event().body(&json!({ "text": " \n" })), (400, "INVALID_BODY")),
            (event().body(&json!({ "text": "\u{3164}\u{200B}" })), (400, "INVALID_BODY")),
            (event().body(&json!({ "text": TEXT, "to": "491713920012" })), (400, "INVALID_BODY")),
            (event().body(&json!({ "text": TEXT, "type": "template" })), (400, "INVALID_BODY")),
            (event().header("content-type", ""), (415, "UNSUPPORTED_MEDIA_TYPE")),
        ]);

        stage.table.meter.start([]);
        for (call, refusal) in refused {
            assert_eq!(stage.answer(call).await.refusal(), refusal);
        }

        assert_eq!((stage.table.meter.stop().calls, stage.provider.calls()), (vec![], vec![]));
    }

    #[tokio::test]
    async fn a_refusal_of_the_provider_is_stored_and_told_again_without_asking_again() {
        let error = json!({ "error": { "code": 131_047, "message": "(#131047) Re-engagement message" } });
        let stage = Stage::of([(400, error)]).await;

        let answer = stage.answer(stage.call()).await;
        let again = stage.answer(stage.call()).await;

        assert_eq!((answer.refusal(), again.refusal()), ((422, "PROVIDER_REJECTED"), (422, "PROVIDER_REJECTED")));
        let [message] = &stage.outbound().await[..] else { panic!("one message") };
        let details = json!({ "messageId": message.id, "code": "131047", "title": "(#131047) Re-engagement message" });
        assert_eq!((&answer.body["error"]["details"], &again.body["error"]["details"]), (&details, &details));
        assert_eq!(message.status, Some(Status::Failed));
        assert_eq!(stage.integration().await.status, ConnectionStatus::Connected);
        assert_eq!(stage.provider.calls(), [SEND]);
    }

    #[tokio::test]
    async fn a_refusal_of_the_account_becomes_its_health() {
        for code in [131_031, 131_042, 133_010, 368] {
            let error = json!({ "error": { "code": code, "message": "No" } });
            let stage = Stage::of([(403, error)]).await;

            let answer = stage.answer(stage.call()).await;

            assert_eq!(answer.refusal(), (422, "PROVIDER_REJECTED"));
            let integration = stage.integration().await;
            let health = integration.health.unwrap();
            assert_eq!((integration.status, health.status), (ConnectionStatus::Connected, HealthStatus::Blocked));
            assert!(!health.reasons[0].is_empty(), "{code}");
        }
    }

    #[tokio::test]
    async fn message_that_is_taken_ends_what_a_refusal_told() {
        let error = json!({ "error": { "code": 131_042, "message": "No" } });
        let stage = Stage::of([(400, error), taken("wamid.A1"), taken("wamid.A2")]).await;
        let send = async |key: &str| {
            stage.table.meter.start([]);
            let status = stage.answer(stage.call().header("idempotency-key", key)).await.status;
            (status, stage.table.meter.stop().calls.len())
        };

        let (refused, _) = send("refused").await;
        let blocked = stage.integration().await.health.unwrap();
        let (first, noting) = send("taken").await;
        let available = stage.integration().await.health.unwrap();
        let (next, calls) = send("next").await;

        assert_eq!((refused, first, next), (422, 201, 201));
        assert_eq!((blocked.status, available.status), (HealthStatus::Blocked, HealthStatus::Available));
        assert_eq!(available.reasons, [""; 0]);
        assert_eq!(noting, calls + 1, "only where it was blocked");
    }

    #[tokio::test]
    async fn a_key_that_the_provider_refuses_is_told_to_the_admin_and_not_used_again() {
        let stage = Stage::of([(401, json!({ "meta": { "developer_message": "Invalid api_key" } }))]).await;

        let first = stage.answer(stage.call()).await;
        let next = stage.answer(stage.call().header("idempotency-key", "next")).await;

        assert_eq!((first.refusal(), next.refusal()), ((422, "PROVIDER_REJECTED"), (409, "NOT_CONNECTED")));
        let integration = stage.integration().await;
        assert_eq!(
            (integration.status, integration.error_message.as_deref()),
            (ConnectionStatus::Error, Some(KEY_REFUSED))
        );
        assert_eq!(stage.provider.calls(), [SEND]);
    }

    #[tokio::test]
    async fn what_may_have_left_is_unknown_and_never_sent_again() {
        let stage = Stage::of([(502, json!({}))]).await;

        let answer = stage.answer(stage.call()).await;
        let again = stage.answer(stage.call()).await;

        assert_eq!((answer.status, &answer.body["data"]["status"]), (202, &json!("unknown")));
        assert_eq!((again.status, &again.body["data"]["id"]), (202, &answer.body["data"]["id"]));
        assert_eq!(stage.outbound().await.len(), 1);
        assert_eq!(stage.provider.calls(), [SEND]);
    }

    #[tokio::test]
    async fn only_what_failed_or_is_unconfirmed_is_sent_again() {
        let error = json!({ "error": { "code": 131_026, "message": "Undeliverable" } });
        let stage = Stage::of([(400, error), taken("wamid.A1")]).await;
        stage.answer(stage.call().header("idempotency-key", "first")).await;
        let failed = stage.outbound().await.remove(0);
        let resend = |key: &str, of: &Message| {
            stage.call().header("idempotency-key", key).body(&json!({ "text": TEXT, "resendOf": of.id }))
        };

        let again = stage.answer(resend("again", &failed)).await;
        let once_more = stage.answer(resend("again", &failed)).await;
        let twice = stage.answer(resend("twice", &failed)).await;

        let thread = stage.outbound().await;
        let new = thread.iter().find(|message| message.id != failed.id).unwrap();
        let first = thread.iter().find(|message| message.id == failed.id).unwrap();
        assert_eq!((again.status, &again.body["data"]["resendOf"]), (201, &json!(failed.id)));
        assert_eq!(once_more.body["data"]["id"], json!(new.id), "the same key is the same message");
        assert_eq!((first.resent_as.as_ref(), new.status), (Some(&new.id), Some(Status::Accepted)));
        assert_eq!(twice.refusal(), (409, "NOT_RESENDABLE"));
        assert_eq!(stage.answer(resend("accepted", new)).await.refusal(), (409, "NOT_RESENDABLE"));
        let unknown = stage.call().body(&json!({ "text": TEXT, "resendOf": "1767877200000-00" }));
        assert_eq!(stage.answer(unknown).await.refusal(), (404, "MESSAGE_NOT_FOUND"));
        assert_eq!(thread.len(), 2);
        assert_eq!(stage.provider.calls(), [SEND, SEND]);
    }

    #[tokio::test]
    async fn a_note_never_leaves() {
        let stage = Stage::of([]).await;

        let answer =
            stage.answer(stage.call().body(&json!({ "text": "Regular customer", "type": "internal_note" }))).await;

        assert_eq!((answer.status, &answer.body["data"]["type"]), (201, &json!("internal_note")));
        assert_eq!(stage.outbound().await.len(), 1);
        assert_eq!(stage.account.only(&stage.table.store()).await, stage.conversation, "nothing new in the inbox");
        assert_eq!(stage.provider.calls(), [""; 0]);
    }
}
