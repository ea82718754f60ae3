//! Runs the known-answer files of `tests/vectors`: one case a file, failures too.

use std::collections::BTreeMap;
use std::fmt::Debug;

use hkdf::Hkdf;
use secrecy::ExposeSecret;
use sha2::Sha256;

use crate::crypto::{EncString, OrganizationKey, decode_base64, derive};
use crate::token::AccessToken;

struct Vector {
    file: String,
    fields: BTreeMap<String, String>,
}

impl Vector {
    fn all() -> Vec<Self> {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");
        let mut files: Vec<_> =
            std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
            .iter()
            .map(|path| {
                let text = std::fs::read_to_string(path).unwrap();
                let lines = text.lines().filter(|line| !line.starts_with('#'));
                let fields = lines.map(|line| {
                    let (name, value) = line.split_once(": ").expect("a line is `name: value`");
                    (name.to_owned(), value.replace("\\n", "\n"))
                });
                Self { file: path.display().to_string(), fields: fields.collect() }
            })
            .collect()
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_else(|| panic!("{} has no {name}", self.file))
    }

    fn base64(&self, name: &str) -> Vec<u8> {
        decode_base64(self.text(name)).unwrap().to_vec()
    }

    /// The outcome is the name of a problem, or `success`.
    fn expect<T, E: Debug>(&self, result: Result<T, E>) -> Option<T> {
        let outcome = result.as_ref().err().map_or("success".to_owned(), |error| format!("{error:?}"));
        assert_eq!(outcome, self.text("expect"), "{}", self.file);
        result.ok()
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn token(vector: &Vector) {
    let Some(token) = vector.expect(AccessToken::parse(vector.text("token").as_bytes())) else { return };
    if let Some(id) = vector.get("id") {
        assert_eq!(token.id.to_string(), id);
    }
    if let Some(client_secret) = vector.get("client-secret") {
        assert_eq!(token.client_secret.expose_secret(), client_secret);
    }
    let secret = decode_base64(vector.text("token").split_once(':').unwrap().1).unwrap();
    assert_eq!(secret[..], hex(vector.text("secret-hex")));
    if vector.get("key").is_some() {
        let key = derive::token_key_bytes(&secret[..].try_into().unwrap());
        assert_eq!(key[..], vector.base64("key"));
    }
}

fn hkdf(vector: &Vector) {
    let hkdf = match vector.get("prk-hex") {
        Some(prk) => Hkdf::<Sha256>::from_prk(&hex(prk)).unwrap(),
        None => Hkdf::new(Some(vector.text("salt").as_bytes()), vector.text("secret").as_bytes()),
    };
    let mut key = [0; 64];
    hkdf.expand(vector.text("info").as_bytes(), &mut key).unwrap();
    assert_eq!(key[..], vector.base64("key"), "{}", vector.file);
}

fn enc_string(vector: &Vector) {
    let key = OrganizationKey::from_slice(&vector.base64("key")).unwrap().expand();
    let Some(plaintext) = vector.expect(EncString::decrypt_text(vector.text("text"), &key)) else { return };
    match vector.get("plaintext-hex") {
        Some(bytes) => assert_eq!(plaintext[..], hex(bytes)),
        None => assert_eq!(plaintext[..], *vector.text("plaintext").as_bytes(), "{}", vector.file),
    }
}

#[test]
fn every_vector() {
    let vectors = Vector::all();
    let count = |kind: &str| vectors.iter().filter(|vector| vector.text("kind") == kind).count();
    assert!(count("token") >= 9 && count("hkdf") >= 3 && count("enc-string") >= 30 && count("key") >= 4);
    for vector in &vectors {
        match vector.text("kind") {
            "token" => token(vector),
            "hkdf" => hkdf(vector),
            "enc-string" => enc_string(vector),
            "key" => drop(vector.expect(OrganizationKey::from_slice(&vector.base64("bytes")))),
            other => panic!("{}: unknown kind {other}", vector.file),
        }
    }
}
