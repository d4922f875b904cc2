//! API keys that were altered in the table: each is refused, nothing is sent, and the admin is told to connect again.
//! Keys that were moved are tried in `isolation`, each single byte in `tests/vault.rs`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    isolation::{integration_item, put},
    shared::{Organization, run, text},
};

/// Does something to the bytes of a part.
type Alter = fn(&mut Vec<u8>);

const ALTERATIONS: [(&str, Alter); 7] = [
    ("first bit", |bytes| bytes[0] ^= 0x80),
    ("last bit", |bytes| *bytes.last_mut().unwrap() ^= 1),
    ("middle byte", |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] = !bytes[middle];
    }),
    ("cut by one", |bytes| bytes.truncate(bytes.len() - 1)),
    ("one more", |bytes| bytes.push(0)),
    ("nothing left", Vec::clear),
    ("flooded", |bytes| bytes.resize(8000, 7)),
];

#[test]
fn altered_sealed_key_sends_nothing_and_is_reported() {
    run(async |rig| {
        for platform in ["whatsapp", "instagram", "facebook"] {
            let (organization, account) = Organization::with(rig, platform).await;
            account.customer_writes("491713920012", "Hello?").await;
            let conversation = organization.conversation().await;
            // The data key is in the memory of the function from here on.
            assert_eq!(organization.send(&conversation, json!({ "text": "Before" })).await.0, 201);
            let original = integration_item(rig, &organization.id, platform).await;
            let with = |part: &str, value: Value| {
                let mut item = original.clone();
                item["credentials"]["M"]["sealedKey"]["M"][part] = value;
                item
            };
            let mut altered = Vec::new();
            for part in ["wrappedKey", "iv", "ciphertext", "tag"] {
                let stored = &original["credentials"]["M"]["sealedKey"]["M"][part]["S"];
                for (what, alter) in ALTERATIONS {
                    let mut bytes = STANDARD.decode(text(stored)).unwrap();
                    alter(&mut bytes);
                    altered.push((format!("{part}: {what}"), with(part, json!({ "S": STANDARD.encode(bytes) }))));
                }
                altered.push((format!("{part}: no Base64"), with(part, json!({ "S": "?" }))));
            }
            for version in ["0", "2", "255"] {
                altered.push((format!("version {version}"), with("version", json!({ "N": version }))));
            }
            // One platform with everything is enough; the others show that they read the same seal.
            let altered = altered.into_iter().step_by(if platform == "whatsapp" { 1 } else { 5 });
            let path = format!("/api/v1/social-integrations/{platform}");
            let stored = organization.messages(&conversation).await.len();

            for (what, item) in altered {
                put(rig, &item).await;
                let (status, answer) = organization.send(&conversation, json!({ "text": "After" })).await;
                assert_eq!(
                    (status, &answer["error"]["code"]),
                    (409, &json!("NOT_CONNECTED")),
                    "{platform} {what}: {answer}"
                );
                let integration = organization.get(&path).await;
                assert_eq!(integration["status"], "error", "{platform} {what}");
                assert!(
                    text(&integration["errorMessage"]).contains("Connect again"),
                    "{platform} {what}: {integration}"
                );

                put(rig, &item).await;
                let (status, tested) = rig.api("POST", &format!("{path}/test"), &organization.admin, Value::Null).await;
                assert_eq!((status, &tested["data"]["status"]), (200, &json!("error")), "{platform} {what}: {tested}");
            }

            assert_eq!(organization.messages(&conversation).await.len(), stored, "nothing is stored");
            let sent = rig.sent().await;
            assert!(!sent.iter().any(|sent| sent["accountId"] == account.id.as_str() && sent["text"] == "After"));
            put(rig, &original).await;
            assert_eq!(organization.send(&conversation, json!({ "text": "Mine again" })).await.0, 201);
        }
    });
}
