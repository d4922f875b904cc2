//! The table: the embedded `DynamoDB` engine, created as the template says, on a port and a thread of its own.

use std::{path::Path, thread, time::Duration};

pub use dynoxide::Database;
use dynoxide::actions::describe_table::DescribeTableRequest;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    error::{Error, Result},
    template::Table,
};

/// How often expired items are removed. `DynamoDB` takes up to two days.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// Opens the table's file, creates the table where it is missing, and serves it on `listener`.
///
/// # Errors
/// When the file is unusable, or holds a table with other keys or indexes than the template's.
pub fn serve(file: &Path, table: &Table, listener: std::net::TcpListener) -> Result<Database> {
    let failed = |action| move |source| Error::Table { action, source };
    let database = Database::new(&file.to_string_lossy()).map_err(failed("open its file"))?;
    create(&database, table)?;
    let (served, swept) = (database.clone(), database.clone());
    // The engine runs each request to its end on the thread that received it, so it gets threads of its own.
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let result = runtime.and_then(|runtime| {
            runtime.block_on(async {
                dynoxide::server::serve_on(TcpListener::from_std(listener)?, served).await;
                Ok(())
            })
        });
        if let Err(error) = result {
            eprintln!("the embedded DynamoDB stopped: {error}");
        }
    });
    if table.ttl_attribute.is_some() {
        thread::spawn(move || {
            loop {
                thread::sleep(SWEEP_EVERY);
                if let Err(error) = swept.sweep_ttl() {
                    eprintln!("cannot remove expired items: {error}");
                }
            }
        });
    }
    Ok(database)
}

fn create(database: &Database, table: &Table) -> Result<()> {
    let failed = |action| move |source| Error::Table { action, source };
    let refused = |action| {
        move |source: serde_json::Error| Error::Template {
            place: "Resources.Table.Properties".to_owned(),
            problem: format!("cannot {action}: {source}"),
        }
    };
    if let Some(known) = database.get_table_metadata(&table.name).map_err(failed("look for the table"))? {
        same_definition(database, table)?;
        let stream = &table.create["StreamSpecification"];
        if !stream.is_null() && !known.stream_enabled {
            // Of before there was one: what has been written until now is not told.
            let request = json!({ "TableName": table.name, "StreamSpecification": stream });
            let request = serde_json::from_value(request).map_err(refused("begin the stream"))?;
            database.update_table(request).map_err(failed("begin its stream"))?;
        }
        return Ok(());
    }
    if !table.is_made {
        return Err(Error::Setting(format!("there is no table {} in the data folder", table.name)));
    }
    let request = serde_json::from_value(table.create.clone()).map_err(refused("create the table"))?;
    database.create_table(request).map_err(failed("create the table"))?;
    if let Some(attribute) = &table.ttl_attribute {
        let specification = json!({ "AttributeName": attribute, "Enabled": true });
        let request = json!({ "TableName": table.name, "TimeToLiveSpecification": specification });
        let request = serde_json::from_value(request).map_err(refused("set the expiry"))?;
        database.update_time_to_live(request).map_err(failed("set the expiry"))?;
    }
    Ok(())
}

/// Keys and indexes cannot be changed in place: a table of an older template has to go.
fn same_definition(database: &Database, table: &Table) -> Result<()> {
    let request = DescribeTableRequest { table_name: table.name.clone() };
    let description =
        database.describe_table(request).map_err(|source| Error::Table { action: "describe the table", source })?;
    let description = serde_json::to_value(&description).unwrap_or_default();
    let existing = &description["Table"];
    let same = ["KeySchema", "GlobalSecondaryIndexes", "LocalSecondaryIndexes"]
        .iter()
        .all(|part| keys(&existing[part]) == keys(&table.create[part]));
    if same {
        Ok(())
    } else {
        let problem = format!(
            "the table {} in the data folder has other keys or indexes than the template's{}",
            table.name,
            if table.is_made { ": start with --fresh" } else { "" }
        );
        Err(Error::Setting(problem))
    }
}

/// What identifies a key schema or a list of indexes, in no particular order.
fn keys(value: &Value) -> Vec<String> {
    let mut keys: Vec<String> = value
        .as_array()
        .into_iter()
        .flatten()
        .map(|part| match &part["IndexName"] {
            Value::Null => format!("{} {}", part["AttributeName"], part["KeyType"]),
            name => format!("{name} {:?} {}", keys(&part["KeySchema"]), part["Projection"]["ProjectionType"]),
        })
        .collect();
    keys.sort();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            name: "local-Table".to_owned(),
            is_made: true,
            create: json!({
                "TableName": "local-Table", "BillingMode": "PAY_PER_REQUEST",
                "AttributeDefinitions": [
                    { "AttributeName": "pk", "AttributeType": "S" },
                    { "AttributeName": "sk", "AttributeType": "S" },
                    { "AttributeName": "externalKey", "AttributeType": "S" },
                ],
                "KeySchema": [
                    { "AttributeName": "pk", "KeyType": "HASH" },
                    { "AttributeName": "sk", "KeyType": "RANGE" },
                ],
                "GlobalSecondaryIndexes": [{
                    "IndexName": "by-external-id",
                    "KeySchema": [{ "AttributeName": "externalKey", "KeyType": "HASH" }],
                    "Projection": { "ProjectionType": "KEYS_ONLY" },
                }],
            }),
            ttl_attribute: Some("expiresAt".to_owned()),
            uses_key: false,
        }
    }

    #[test]
    fn the_table_is_created_once_and_found_again() {
        let database = Database::memory().unwrap();

        create(&database, &table()).unwrap();
        create(&database, &table()).unwrap();

        let request = serde_json::from_value(json!({ "TableName": "local-Table" })).unwrap();
        let expiry = serde_json::to_value(database.describe_time_to_live(request).unwrap()).unwrap();
        assert_eq!(expiry["TimeToLiveDescription"]["AttributeName"], "expiresAt");
    }

    #[test]
    fn a_table_of_before_gets_its_stream() {
        let database = Database::memory().unwrap();
        create(&database, &table()).unwrap();
        let has_stream = || database.get_table_metadata("local-Table").unwrap().unwrap().stream_enabled;
        assert!(!has_stream());
        let mut with_stream = table();
        with_stream.create["StreamSpecification"] =
            json!({ "StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES" });

        create(&database, &with_stream).unwrap();

        assert!(has_stream());
    }

    #[test]
    fn existing_table_is_not_made() {
        let database = Database::memory().unwrap();
        let restored = Table { is_made: false, ..table() };

        let error = create(&database, &restored).unwrap_err().to_string();

        assert!(error.contains("no table local-Table"), "{error}");
        create(&database, &table()).unwrap();
        create(&database, &restored).unwrap();
    }

    #[test]
    fn a_table_of_another_shape_asks_for_a_fresh_start() {
        let database = Database::memory().unwrap();
        create(&database, &table()).unwrap();
        let mut other = table();
        other.create["GlobalSecondaryIndexes"][0]["IndexName"] = json!("inbox");

        let error = create(&database, &other).unwrap_err().to_string();

        assert!(error.contains("--fresh"), "{error}");
    }
}
