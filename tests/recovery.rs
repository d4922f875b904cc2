//! The way back from a backup, as docs/recovery.md has it, where it can be played on one machine: another table, the same
//! key and secret.

use serde_json::{Value, json};
use support::{Rig, Setup};

use crate::shared::{Organization, items, own_rig, table, text};

const RESTORED: &str = "restored";
const KEY_ARN: &str = "arn:aws:kms:eu-central-1:000000000000:key/00000000-0000-4000-8000-00000000c0de";
/// The most items of one `BatchWriteItem`.
const BATCH: usize = 25;

/// What `restore-table-to-point-in-time` makes: the items, keys and indexes, and no expiry.
async fn restore(rig: &Rig) {
    let source = table(rig).await;
    let description = rig.dynamodb("DescribeTable", json!({ "TableName": source })).await;
    let mut create = json!({ "TableName": RESTORED, "BillingMode": "PAY_PER_REQUEST" });
    for part in ["AttributeDefinitions", "KeySchema"] {
        create[part] = description["Table"][part].clone();
    }
    let index = |index: &Value| {
        json!({
            "IndexName": index["IndexName"], "KeySchema": index["KeySchema"], "Projection": index["Projection"],
        })
    };
    let indexes = description["Table"]["GlobalSecondaryIndexes"].as_array().unwrap();
    create["GlobalSecondaryIndexes"] = indexes.iter().map(index).collect();
    rig.dynamodb("CreateTable", create).await;
    for batch in items(rig).await.chunks(BATCH) {
        let puts: Vec<_> = batch.iter().map(|item| json!({ "PutRequest": { "Item": item } })).collect();
        let answer = rig.dynamodb("BatchWriteItem", json!({ "RequestItems": { RESTORED: puts } })).await;
        assert!(answer["UnprocessedItems"].as_object().is_none_or(serde_json::Map::is_empty), "{answer}");
    }
    let expiry = json!({ "AttributeName": "expiresAt", "Enabled": true });
    rig.dynamodb("UpdateTimeToLive", json!({ "TableName": RESTORED, "TimeToLiveSpecification": expiry })).await;
}

#[tokio::test]
async fn restored_table_is_used_with_the_retained_key() {
    let rig = own_rig(Setup::default());
    let (organization, account) = Organization::with(&rig, "whatsapp").await;
    account.customer_writes("491713920012", "Before the backup").await;
    let conversation = organization.conversation().await;
    assert_eq!(organization.send(&conversation, json!({ "text": "Noted" })).await.0, 201);
    restore(&rig).await;
    account.customer_writes("491713920012", "After the backup").await;
    let (id, admin, operator) = (organization.id.clone(), organization.admin.clone(), organization.operator.clone());

    let parameters = [format!("ExistingTable={RESTORED}"), format!("ExistingKey={KEY_ARN}")];
    let rig = rig.restart_with(parameters.iter().flat_map(|parameter| ["--parameter", parameter]));

    assert_eq!(table(&rig).await, RESTORED);
    let organization = Organization { rig: &rig, id, service: admin.clone(), admin, operator };
    let texts = async || {
        let thread = organization.thread().await;
        thread.iter().map(|message| text(&message["text"]).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(texts().await, ["Before the backup", "Noted"]);
    // The account's token is still good, the sealed key opens, and the new table takes both.
    let written = rig.simulate_inbound("whatsapp", &account_id(&organization).await, "491713920012", "Hello?").await;
    assert_eq!(written["delivered"], true, "{written}");
    assert_eq!(organization.send(&conversation, json!({ "text": "Back again" })).await.0, 201);
    // The provider tells whole seconds: in its order, "Hello?" may stand before what was noted in the same second.
    let mut all = texts().await;
    all.sort();
    assert_eq!(all, ["Back again", "Before the backup", "Hello?", "Noted"]);
}

async fn account_id(organization: &Organization<'_>) -> String {
    let integration = organization.get("/api/v1/social-integrations/whatsapp").await;
    text(&integration["credentials"]["phoneNumberId"]).to_owned()
}
