//! The engine under the tests, and a meter between it and the store: it counts calls and write units, and fails calls
//! on demand.

use std::{
    collections::BTreeMap,
    env, net,
    path::Path,
    process,
    sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
};

use aws_sdk_dynamodb::{
    Client,
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        http::HttpResponse,
        interceptors::{
            AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextMut,
            BeforeSerializationInterceptorContextMut, BeforeTransmitInterceptorContextMut,
        },
        retry::RetryConfig,
    },
    error::BoxError,
    operation::{
        batch_execute_statement::BatchExecuteStatementInput, batch_write_item::BatchWriteItemInput,
        create_table::CreateTableError, delete_item::DeleteItemInput, get_item::GetItemInput, put_item::PutItemInput,
        query::QueryInput, transact_write_items::TransactWriteItemsInput, update_item::UpdateItemInput,
    },
    types::{AttributeValue, PutRequest, ReturnConsumedCapacity, WriteRequest},
};
use aws_smithy_types::{
    body::SdkBody,
    config_bag::{Storable, StoreReplace},
};
use dynoxide::Database;
use emulator::{
    arn::REGION,
    template::{self, Emulation, Table as Definition},
};
use serde_json::{Value, json};
use shared::{
    aws,
    config::Aws,
    store::{Item, Store},
};
use tokio::{net::TcpListener, runtime, sync::OnceCell};

use crate::given::unique;

/// A client of the table, with its meter. It is one table for all tests, which use organizations of their own.
pub struct Table {
    client: Client,
    name: String,
    /// What the store asks is counted here.
    pub meter: Meter,
}

impl Table {
    /// The table, as the functions reach it.
    pub async fn open() -> Self {
        Self::of_all(None).await
    }

    /// The table; a call that fails once has failed.
    pub async fn without_retries() -> Self {
        Self::of_all(Some(RetryConfig::disabled())).await
    }

    /// A table that no other test uses, for what goes through all organizations; a call that fails once has failed.
    pub async fn apart() -> Self {
        let name = format!("{}-{}", template().name, unique());
        create(&name).await;
        Self::named(&name, Some(RetryConfig::disabled()))
    }

    async fn of_all(retries: Option<RetryConfig>) -> Self {
        static CREATED: OnceCell<()> = OnceCell::const_new();
        let name = &template().name;
        CREATED.get_or_init(|| create(name)).await;
        Self::named(name, retries)
    }

    fn named(name: &str, retries: Option<RetryConfig>) -> Self {
        let meter = Meter::default();
        let mut config = client().config().to_builder().interceptor(meter.clone());
        if let Some(retries) = retries {
            config = config.retry_config(retries);
        }
        Self { client: Client::from_conf(config.build()), name: name.to_owned(), meter }
    }

    /// A store as a process of its own has it: nothing is remembered yet.
    pub fn store(&self) -> Store {
        Store::new(self.client.clone(), &self.name)
    }

    /// Everything in a partition.
    pub async fn partition(&self, pk: &str) -> Vec<BTreeMap<String, AttributeValue>> {
        let query = self.client.query().table_name(&self.name).consistent_read(true);
        let query = query.key_condition_expression("pk = :pk").expression_attribute_values(":pk", text(pk));
        let pages: Vec<_> = query.into_paginator().items().send().collect::<Result<_, _>>().await.unwrap();
        pages.into_iter().map(|item| item.into_iter().collect()).collect()
    }

    /// Writes items as they are, many at once.
    pub async fn load(&self, items: impl IntoIterator<Item = Item>) {
        const BATCH: usize = 25;
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            let puts = items.by_ref().take(BATCH).map(|item| {
                let put = PutRequest::builder().set_item(Some(item)).build().unwrap();
                WriteRequest::builder().put_request(put).build()
            });
            let output = self.client.batch_write_item().request_items(&self.name, puts.collect()).send().await.unwrap();
            assert!(output.unprocessed_items.unwrap_or_default().is_empty(), "the engine took only a part");
        }
    }
}

/// AWS at that endpoint.
pub(crate) fn aws_at(endpoint: &str) -> Aws {
    Aws {
        region: REGION.into(),
        access_key_id: "test".into(),
        secret_access_key: "test".into(),
        session_token: None,
        dynamodb_endpoint: Some(endpoint.to_owned()),
        kms_endpoint: Some(endpoint.to_owned()),
        secrets_manager_endpoint: Some(endpoint.to_owned()),
    }
}

/// A text attribute.
pub fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn endpoint() -> &'static str {
    static ENDPOINT: OnceLock<String> = OnceLock::new();
    ENDPOINT.get_or_init(|| env::var("DYNAMODB_ENDPOINT").unwrap_or_else(|_| embedded()))
}

/// The embedded engine, on a port and a thread of its own: it outlives the runtime of any one test.
fn embedded() -> String {
    let listener = net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            dynoxide::server::serve_on(listener, Database::memory().unwrap()).await;
        });
    });
    endpoint
}

fn client() -> Client {
    aws::dynamodb(&aws_at(endpoint())).unwrap()
}

/// Creates a table as the template describes it. Sent as it stands there: the SDK does not read JSON.
async fn create(name: &str) {
    let mut definition = template().create.clone();
    definition["TableName"] = json!(name);
    // Nobody reads it here, and the engine would look through all of it for each write.
    definition.as_object_mut().unwrap().remove("StreamSpecification");
    let definition = definition.to_string();
    let request = client().create_table().table_name(name).customize().mutate_request(move |request| {
        request.headers_mut().insert("content-length", definition.len().to_string());
        *request.body_mut() = definition.clone().into();
    });
    if let Err(error) = request.send().await {
        let is_there = error.as_service_error().is_some_and(CreateTableError::is_resource_in_use_exception);
        if !is_there {
            eprintln!("the table cannot be created: {error:?}");
            process::exit(1);
        }
    }
}

/// The table of `template.yaml`.
fn template() -> &'static Definition {
    static TABLE: LazyLock<Definition> = LazyLock::new(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml");
        let nowhere = Emulation {
            api: "http://api.invalid".into(),
            function_url: "http://webhook.invalid/".into(),
            provider: "http://provider.invalid".into(),
            parameters: BTreeMap::new(),
        };
        template::load(&path, &nowhere).unwrap().table
    });
    &TABLE
}

/// What becomes of a call that shall fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not reach the table.
    Before,
    /// It takes effect, and its answer is lost.
    After,
}

impl Fault {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Before, Self::After];
}

/// Counts calls and what they cost; fails the ones that it is told to.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Mutex<Figures>>);

/// What was asked, and what it cost.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// The operations, in the order in which they left.
    pub calls: Vec<String>,
    /// Consumed by writes, indexes included.
    pub write_units: f64,
    /// The most calls that were under way at once.
    pub side_by_side: usize,
    under_way: usize,
    faults: BTreeMap<usize, Fault>,
    failing: Option<&'static str>,
}

impl Meter {
    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts from zero, and fails calls by their number.
    pub fn start(&self, faults: impl IntoIterator<Item = (usize, Fault)>) {
        *self.figures() = Figures { faults: faults.into_iter().collect(), ..Figures::default() };
    }

    /// Counts from zero, and fails every call of that operation before it reaches the table.
    pub fn start_failing(&self, operation: &'static str) {
        *self.figures() = Figures { failing: Some(operation), ..Figures::default() };
    }

    /// The figures since then. Nothing fails any more.
    pub fn stop(&self) -> Figures {
        std::mem::take(&mut *self.figures())
    }
}

/// The number of a call, on its way through the SDK.
#[derive(Debug)]
struct Number(usize);

impl Storable for Number {
    type Storer = StoreReplace<Self>;
}

macro_rules! ask_for_capacity {
    ($input:expr, $($kind:ty),*) => {
        $(if let Some(input) = $input.downcast_mut::<$kind>() {
            input.return_consumed_capacity = Some(ReturnConsumedCapacity::Indexes);
        })*
    };
}

impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "meter"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let input = context.input_mut();
        ask_for_capacity!(input, PutItemInput, UpdateItemInput, DeleteItemInput, TransactWriteItemsInput);
        ask_for_capacity!(input, GetItemInput, QueryInput, BatchWriteItemInput, BatchExecuteStatementInput);
        Ok(())
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let target = context.request().headers().get("x-amz-target").unwrap_or_default();
        let mut figures = self.figures();
        let number = figures.calls.len();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let fails = figures.faults.get(&number) == Some(&Fault::Before) || figures.failing == Some(&operation);
        figures.calls.push(operation);
        if fails {
            return Err("the table is not reached".into());
        }
        figures.under_way += 1;
        figures.side_by_side = figures.side_by_side.max(figures.under_way);
        config.interceptor_state().store_put(Number(number));
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let number = config.load::<Number>().map(|number| number.0);
        let mut figures = self.figures();
        figures.under_way = figures.under_way.saturating_sub(1);
        if number.is_some_and(|number| figures.faults.get(&number) == Some(&Fault::After)) {
            *context.response_mut() = HttpResponse::new(500.try_into()?, SdkBody::empty());
        }
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer: Value =
            context.response().body().bytes().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default();
        let consumed = match &answer["ConsumedCapacity"] {
            Value::Array(tables) => tables.iter().filter_map(|table| table["CapacityUnits"].as_f64()).sum(),
            table => table["CapacityUnits"].as_f64().unwrap_or_default(),
        };
        let mut figures = self.figures();
        let operation = config.load::<Number>().and_then(|number| figures.calls.get(number.0));
        if operation.is_some_and(|operation| !["GetItem", "Query"].contains(&operation.as_str())) {
            figures.write_units += consumed;
        }
        Ok(())
    }
}
