//! Seals and opens the API keys of integrations.
//!
//! Each integration has a data key of its own, wrapped by KMS under the encryption context `{organizationId, platform}`.
//! HKDF-SHA-256 derives from it an encryption key and a MAC key. The API key is encrypted with AES-256-CBC (PKCS#7, random
//! IV) and authenticated with HMAC-SHA-256 over version, context, IV and ciphertext: verified before anything is decrypted,
//! in constant time. A sealed key that was altered, or moved to another organization or platform, does not open.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use aes::Aes256;
use aws_sdk_kms::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    primitives::Blob,
    types::DataKeySpec,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, block_padding::Pkcs7};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use crate::{
    aws, config,
    error::{Cause, Error, Result},
    id::OrganizationId,
    platform::Platform,
};

const VERSION: u8 = 1;
const KEY_BYTES: usize = 32;
const IV_BYTES: usize = 16;
const ENCRYPTION_INFO: &[u8] = b"kepleroai/api-key/1/encryption";
const MAC_INFO: &[u8] = b"kepleroai/api-key/1/mac";
/// How long an unwrapped data key stays in memory.
const CACHE_FOR: Duration = Duration::from_mins(5);
/// How many unwrapped data keys stay in memory.
const CACHE_MAX: usize = 1000;

/// A sealed API key; every part but the version is Base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealedKey {
    /// The format: 1.
    pub version: u8,
    /// The data key, wrapped by KMS.
    pub wrapped_key: String,
    /// The initialisation vector, 16 bytes.
    pub iv: String,
    /// AES-256-CBC of the API key.
    pub ciphertext: String,
    /// HMAC-SHA-256 over the rest and the context.
    pub tag: String,
}

/// Why a sealed key does not open.
#[derive(Debug, thiserror::Error)]
#[error("the stored API key does not open: it was altered, or belongs to another organization or platform")]
pub struct Unreadable;

/// Whether an error is that a sealed key does not open.
#[must_use]
pub fn is_unreadable(error: &Error) -> bool {
    matches!(error, Error::Internal(cause) if cause.is::<Unreadable>())
}

struct CachedKey {
    unwrapped: Zeroizing<Vec<u8>>,
    since: Instant,
}

/// Seals and opens API keys.
pub struct Vault {
    client: OnceCell<Client>,
    key_id: String,
    cache: Mutex<HashMap<(OrganizationId, Platform, String), CachedKey>>,
}

impl Vault {
    /// A vault on any client.
    #[must_use]
    pub fn new(client: Client, key_id: impl Into<String>) -> Self {
        Self { client: OnceCell::new_with(Some(client)), key_id: key_id.into(), cache: Mutex::default() }
    }

    /// The vault of the key that the environment names; the connection waits for the first use.
    ///
    /// # Errors
    /// When the environment is incomplete.
    pub fn from_env() -> Result<Self, Cause> {
        Ok(Self { client: OnceCell::new(), key_id: config::kms_key_id()?, cache: Mutex::default() })
    }

    async fn client(&self) -> Result<&Client> {
        let connect = async || aws::kms(&config::Aws::from_env()?);
        self.client.get_or_try_init(connect).await.map_err(Error::internal)
    }

    /// Seals an API key for an organization's integration, under a new data key.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when KMS does not answer.
    pub async fn seal(
        &self,
        organization: &OrganizationId,
        platform: Platform,
        api_key: &SecretString,
    ) -> Result<SealedKey> {
        let output = self
            .client()
            .await?
            .generate_data_key()
            .key_id(&self.key_id)
            .key_spec(DataKeySpec::Aes256)
            .encryption_context("organizationId", organization.as_str())
            .encryption_context("platform", platform.as_str())
            .send()
            .await
            .map_err(|error| kms_fault("GenerateDataKey", &error))?;
        let (Some(plaintext), Some(wrapped)) = (output.plaintext, output.ciphertext_blob) else {
            return Err(Error::internal("KMS answered without a data key"));
        };
        let data_key = Zeroizing::new(plaintext.into_inner());
        let mut iv = [0; IV_BYTES];
        getrandom::fill(&mut iv).map_err(Error::internal)?;
        seal_with(&data_key, organization, platform, wrapped.as_ref(), iv, api_key).map_err(Error::internal)
    }

    /// Opens the API key of an organization's integration.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when KMS does not answer; [`Error::Internal`] with [`Unreadable`] when the key does not open.
    pub async fn open(
        &self,
        organization: &OrganizationId,
        platform: Platform,
        sealed: &SealedKey,
    ) -> Result<SecretString> {
        let data_key = self.unwrap_data_key(organization, platform, sealed).await?;
        open_with(&data_key, organization, platform, sealed).map_err(Error::internal)
    }

    async fn unwrap_data_key(
        &self,
        organization: &OrganizationId,
        platform: Platform,
        sealed: &SealedKey,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let name = (organization.clone(), platform, sealed.wrapped_key.clone());
        if let Some(cached) = self.cached(&name) {
            return Ok(cached);
        }
        let wrapped = STANDARD.decode(&sealed.wrapped_key).map_err(|_| Error::internal(Unreadable))?;
        let output = self
            .client()
            .await?
            .decrypt()
            .key_id(&self.key_id)
            .ciphertext_blob(Blob::new(wrapped))
            .encryption_context("organizationId", organization.as_str())
            .encryption_context("platform", platform.as_str())
            .send()
            .await
            .map_err(|error| match error.code() {
                // Validation: no ciphertext is empty or longer than 6,144 bytes, and the rest of the request is ours.
                Some("InvalidCiphertextException" | "IncorrectKeyException" | "ValidationException") => {
                    Error::internal(Unreadable)
                }
                _ => kms_fault("Decrypt", &error),
            })?;
        let plaintext = output.plaintext.ok_or_else(|| Error::internal("KMS answered without a data key"))?;
        let unwrapped = Zeroizing::new(plaintext.into_inner());
        if let Ok(mut cache) = self.cache.lock() {
            if cache.len() >= CACHE_MAX {
                cache.clear();
            }
            cache.insert(name, CachedKey { unwrapped: unwrapped.clone(), since: Instant::now() });
        }
        Ok(unwrapped)
    }

    fn cached(&self, name: &(OrganizationId, Platform, String)) -> Option<Zeroizing<Vec<u8>>> {
        let mut cache = self.cache.lock().ok()?;
        cache.retain(|_, key| key.since.elapsed() < CACHE_FOR);
        cache.get(name).map(|key| key.unwrapped.clone())
    }
}

fn kms_fault<E: ProvideErrorMetadata>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Error {
    let cause = aws::Fault::new(operation, error);
    match error.code() {
        Some("AccessDeniedException" | "NotFoundException" | "DisabledException" | "ValidationException") => {
            Error::internal(cause)
        }
        _ => Error::Unavailable(cause.into()),
    }
}

fn derive(data_key: &[u8], info: &[u8]) -> Result<Zeroizing<[u8; KEY_BYTES]>, Unreadable> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    Hkdf::<Sha256>::new(None, data_key).expand(info, key.as_mut()).map_err(|_| Unreadable)?;
    Ok(key)
}

fn encrypt(key: &[u8], iv: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let encryptor = cbc::Encryptor::<Aes256>::new_from_slices(key, iv).map_err(|_| Unreadable)?;
    Ok(encryptor.encrypt_padded_vec::<Pkcs7>(plaintext))
}

fn decrypt(key: &[u8], iv: &[u8], ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    let decryptor = cbc::Decryptor::<Aes256>::new_from_slices(key, iv).map_err(|_| Unreadable)?;
    decryptor.decrypt_padded_vec::<Pkcs7>(ciphertext).map(Zeroizing::new).map_err(|_| Unreadable)
}

/// Everything that the tag covers, each part with its length before it.
fn mac(
    data_key: &[u8],
    organization: &OrganizationId,
    platform: Platform,
    iv: &[u8],
    ciphertext: &[u8],
) -> Result<Hmac<Sha256>, Unreadable> {
    let key = derive(data_key, MAC_INFO)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_ref()).map_err(|_| Unreadable)?;
    mac.update(&[VERSION]);
    for part in [organization.as_str().as_bytes(), platform.as_str().as_bytes(), iv, ciphertext] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    Ok(mac)
}

fn seal_with(
    data_key: &[u8],
    organization: &OrganizationId,
    platform: Platform,
    wrapped: &[u8],
    iv: [u8; IV_BYTES],
    api_key: &SecretString,
) -> Result<SealedKey, Unreadable> {
    let key = derive(data_key, ENCRYPTION_INFO)?;
    let ciphertext = encrypt(key.as_ref(), &iv, api_key.expose_secret().as_bytes())?;
    let tag = mac(data_key, organization, platform, &iv, &ciphertext)?.finalize().into_bytes();
    Ok(SealedKey {
        version: VERSION,
        wrapped_key: STANDARD.encode(wrapped),
        iv: STANDARD.encode(iv),
        ciphertext: STANDARD.encode(ciphertext),
        tag: STANDARD.encode(tag),
    })
}

fn open_with(
    data_key: &[u8],
    organization: &OrganizationId,
    platform: Platform,
    sealed: &SealedKey,
) -> Result<SecretString, Unreadable> {
    if sealed.version != VERSION {
        return Err(Unreadable);
    }
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| Unreadable);
    let (iv, ciphertext, tag) = (decode(&sealed.iv)?, decode(&sealed.ciphertext)?, decode(&sealed.tag)?);
    mac(data_key, organization, platform, &iv, &ciphertext)?.verify_slice(&tag).map_err(|_| Unreadable)?;
    let key = derive(data_key, ENCRYPTION_INFO)?;
    let plaintext = decrypt(key.as_ref(), &iv, &ciphertext)?;
    std::str::from_utf8(&plaintext).map(SecretString::from).map_err(|_| Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA_KEY: [u8; 32] = [7; 32];

    fn acme() -> OrganizationId {
        "acme".parse().unwrap()
    }

    fn sealed() -> SealedKey {
        seal_with(&DATA_KEY, &acme(), Platform::Whatsapp, b"wrapped", [9; 16], &"an API key".into()).unwrap()
    }

    #[test]
    fn a_sealed_key_opens_where_it_belongs() {
        let opened = open_with(&DATA_KEY, &acme(), Platform::Whatsapp, &sealed()).unwrap();
        assert_eq!(opened.expose_secret(), "an API key");
    }

    #[test]
    fn the_sealed_bytes_are_golden() {
        let sealed = sealed();
        assert_eq!(
            (sealed.ciphertext.as_str(), sealed.tag.as_str()),
            ("wgXwpc/j6yAnB6IQJ2/nPw==", "37G8nGpykJF1aKtBLRrsWF2gBmBxguK+D6ZLflxHU90=")
        );
    }

    #[test]
    fn a_moved_key_does_not_open() {
        assert!(open_with(&DATA_KEY, &"globex".parse().unwrap(), Platform::Whatsapp, &sealed()).is_err());
        assert!(open_with(&DATA_KEY, &acme(), Platform::Instagram, &sealed()).is_err());
        assert!(open_with(&[8; 32], &acme(), Platform::Whatsapp, &sealed()).is_err());
    }

    #[test]
    fn no_byte_can_be_altered_or_cut() {
        type Part = fn(&mut SealedKey) -> &mut String;
        let parts: [Part; 3] = [|key| &mut key.iv, |key| &mut key.ciphertext, |key| &mut key.tag];
        for part in parts {
            let original = STANDARD.decode(part(&mut sealed())).unwrap();
            for at in 0..original.len() {
                let mut flipped = original.clone();
                flipped[at] ^= 1;
                for bytes in [&flipped[..], &original[..at]] {
                    let mut key = sealed();
                    *part(&mut key) = STANDARD.encode(bytes);
                    assert!(open_with(&DATA_KEY, &acme(), Platform::Whatsapp, &key).is_err());
                }
            }
        }
        assert!(open_with(&DATA_KEY, &acme(), Platform::Whatsapp, &SealedKey { version: 2, ..sealed() }).is_err());
    }

    /// <https://nvlpubs.nist.gov/nistpubs/Legacy/SP/nistspecialpublication800-38a.pdf>, F.2.5 and F.2.6
    #[test]
    fn cbc_is_nists() {
        let bytes = |text: &str| hex::decode(text).unwrap();
        let key = bytes("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
        let iv = bytes("000102030405060708090a0b0c0d0e0f");
        let plaintext = bytes(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
             30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
        );
        let ciphertext = bytes(
            "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d\
             39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b",
        );

        let encrypted = encrypt(&key, &iv, &plaintext).unwrap();

        // The vectors have no padding; PKCS#7 adds a block to whole ones.
        assert_eq!(encrypted[..64], ciphertext);
        assert_eq!(encrypted.len(), 80);
        assert_eq!(decrypt(&key, &iv, &encrypted).unwrap().as_slice(), plaintext);
        assert!(decrypt(&key, &iv, &ciphertext).is_err());
    }

    /// <https://www.rfc-editor.org/rfc/rfc5869#appendix-A.3>: without salt, as here. The output is its first 32 bytes.
    #[test]
    fn hkdf_is_the_rfcs() {
        let derived = derive(&[0x0b; 22], b"").unwrap();

        let expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d";
        assert_eq!(hex::encode(derived.as_ref()), expected);
    }

    /// <https://www.rfc-editor.org/rfc/rfc4231#section-4>, cases 1, 2, 3, 6 and 7
    #[test]
    fn hmac_is_the_rfcs() {
        let long = b"This is a test using a larger than block-size key and a larger than block-size data. \
            The key needs to be hashed before being used by the HMAC algorithm.";
        let cases: [(&[u8], &[u8], &str); 5] = [
            (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (&[0xaa; 131], long, "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"),
        ];
        for (key, data, expected) in cases {
            let mac = Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(data);
            assert_eq!(hex::encode(mac.clone().finalize().into_bytes()), expected);
            assert!(mac.verify_slice(&hex::decode(expected).unwrap()).is_ok());
        }
    }

    /// See *Fuzz* in `docs/contributing.md`.
    #[test]
    fn fuzz_any_stored_key() {
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Ok(stored) = serde_json::from_slice::<SealedKey>(bytes)
                && open_with(&DATA_KEY, &acme(), Platform::Whatsapp, &stored).is_ok()
            {
                let SealedKey { version, iv, ciphertext, tag, .. } = sealed();
                assert_eq!((stored.version, stored.iv, stored.ciphertext, stored.tag), (version, iv, ciphertext, tag));
            }
            // What only somebody with the data key can make: past the tag, whatever is there opens or is refused.
            let (iv, ciphertext) = bytes.split_at(bytes.len().min(IV_BYTES));
            let tag = mac(&DATA_KEY, &acme(), Platform::Whatsapp, iv, ciphertext).unwrap().finalize().into_bytes();
            let (iv, ciphertext, tag) = (STANDARD.encode(iv), STANDARD.encode(ciphertext), STANDARD.encode(tag));
            let stored = SealedKey { iv, ciphertext, tag, ..sealed() };
            drop(open_with(&DATA_KEY, &acme(), Platform::Whatsapp, &stored));
        });
    }
}
