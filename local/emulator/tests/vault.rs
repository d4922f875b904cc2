//! The vault against the KMS emulator: every byte of a sealed key counts, and it opens nowhere else.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use axum::Router;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use emulator::{
    arn::{KEY_ID, REGION},
    kms::Kms,
};
use shared::{
    aws, config, http,
    id::OrganizationId,
    platform::Platform,
    vault::{SealedKey, Vault, is_unreadable},
};
use tokio::net::TcpListener;

type Part = fn(&mut SealedKey) -> &mut String;

const PARTS: [(&str, Part); 4] = [
    ("wrapped key", |key| &mut key.wrapped_key),
    ("iv", |key| &mut key.iv),
    ("ciphertext", |key| &mut key.ciphertext),
    ("tag", |key| &mut key.tag),
];

fn acme() -> OrganizationId {
    "acme".parse().unwrap()
}

async fn vault() -> Vault {
    vault_on(Kms::new(&[7; 32], Vec::new()).router()).await
}

async fn vault_on(kms: Router) -> Vault {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let kms_endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(async move { axum::serve(listener, kms).await });
    let aws = config::Aws {
        region: REGION.to_owned(),
        access_key_id: "test".to_owned(),
        secret_access_key: "test".into(),
        session_token: None,
        secrets_manager_endpoint: None,
        dynamodb_endpoint: None,
        kms_endpoint,
    };
    Vault::new(aws::kms(&aws).unwrap(), KEY_ID)
}

async fn assert_refused(vault: &Vault, organization: &OrganizationId, platform: Platform, key: &SealedKey, what: &str) {
    match vault.open(organization, platform, key).await {
        Ok(_) => panic!("it opens: {what}"),
        Err(error) => assert!(is_unreadable(&error), "{what}: {error:?}"),
    }
}

#[tokio::test]
async fn no_byte_of_a_sealed_key_can_be_altered_or_cut() {
    let vault = vault().await;
    let sealed = vault.seal(&acme(), Platform::Whatsapp, &"an API key".into()).await.unwrap();
    assert!(vault.open(&acme(), Platform::Whatsapp, &sealed).await.is_ok());

    for (name, part) in PARTS {
        let original = STANDARD.decode(part(&mut sealed.clone())).unwrap();
        for at in 0..original.len() {
            let mut flipped = original.clone();
            flipped[at] ^= 1 << (at % 8);
            for (what, bytes) in [("flipped", &flipped[..]), ("cut", &original[..at])] {
                let mut key = sealed.clone();
                *part(&mut key) = STANDARD.encode(bytes);
                assert_refused(&vault, &acme(), Platform::Whatsapp, &key, &format!("{name} {what} at {at}")).await;
            }
        }
        // Longer than KMS looks at.
        let mut key = sealed.clone();
        *part(&mut key) = STANDARD.encode([original, vec![0; 7000]].concat());
        assert_refused(&vault, &acme(), Platform::Whatsapp, &key, &format!("{name} with more behind it")).await;
    }
    for version in (0..=u8::MAX).filter(|version| *version != sealed.version) {
        let key = SealedKey { version, ..sealed.clone() };
        assert_refused(&vault, &acme(), Platform::Whatsapp, &key, &format!("version {version}")).await;
    }
}

#[tokio::test]
async fn a_sealed_key_opens_for_its_organization_and_platform_only() {
    let vault = vault().await;
    let globex: OrganizationId = "globex".parse().unwrap();
    for platform in Platform::ALL {
        let sealed = vault.seal(&acme(), platform, &"an API key".into()).await.unwrap();

        assert!(vault.open(&acme(), platform, &sealed).await.is_ok());
        assert_refused(&vault, &globex, platform, &sealed, "another organization").await;
        for other in Platform::ALL.into_iter().filter(|other| *other != platform) {
            assert_refused(&vault, &acme(), other, &sealed, "another platform").await;
        }
    }
}

#[tokio::test]
async fn parts_of_two_sealed_keys_make_none() {
    let vault = vault().await;
    let first = vault.seal(&acme(), Platform::Whatsapp, &"the first key".into()).await.unwrap();
    let second = vault.seal(&acme(), Platform::Whatsapp, &"another key".into()).await.unwrap();

    for choice in 1..(1 << PARTS.len()) - 1 {
        let mut mixed = first.clone();
        for (index, (_, part)) in PARTS.into_iter().enumerate().filter(|(index, _)| (choice >> index) & 1 == 1) {
            part(&mut mixed).clone_from(part(&mut second.clone()));
            assert_ne!(mixed, second, "{index}");
        }
        assert_refused(&vault, &acme(), Platform::Whatsapp, &mixed, &format!("parts {choice:04b} of the second")).await;
    }
}

#[tokio::test]
async fn an_error_does_not_tell_a_data_key() {
    for answer in [
        r#"{"Plaintext":"Y2FuYXJ5","CiphertextBlob":5}"#,
        r#"{"Plaintext":"Y2FuYXJ5","CiphertextBlob":"d3JhcHBlZA==","KeyId":"#,
        r#"{"Plaintext":"Y2FuYXJ5","CiphertextBlob":"?"}"#,
        r#"{"Plaintext":"Y2FuYXJ5"}"#,
    ] {
        let vault = vault_on(Router::new().fallback(move || async move { answer })).await;

        let error = vault.seal(&acme(), Platform::Whatsapp, &"an API key".into()).await.unwrap_err();

        let told = format!("{} {error:?}", http::causes(&error));
        assert!(!told.contains("Y2FuYXJ5") && !told.contains("canary"), "{told}");
    }
}
