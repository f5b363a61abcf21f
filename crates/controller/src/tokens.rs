//! Tokens: made, shown once, kept as hashes.
//!
//! An API token is `drt1_<id>_<secret>`, a join token
//! `drv1_<id>_<secret>_<sha256 of the CA certificate>`. Ids are 32 hex digits.

use std::str::FromStr;
use std::time::Duration;

use drover_api::v1::Role;
use drover_model::{Timestamp, TokenId};

use crate::moment::{secret, sha256_hex, token_id};
use crate::records::{JoinRecord, Tables, TokenRecord};

/// A join token is good for so long.
pub const JOIN_TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Most API tokens.
pub const MAX_TOKENS: usize = 1000;

/// A new API token and its text.
pub fn new_token(name: String, role: Role, now: Timestamp) -> (TokenRecord, String) {
    let (id, secret) = (token_id(), secret());
    let text = format!("drt1_{}_{secret}", plain(id));
    let sha256 = sha256_hex(secret.as_bytes());
    (TokenRecord { id, name, role, sha256, created: now }, text)
}

/// A new join token and its text.
pub fn new_join(fingerprint: &str, now: Timestamp) -> (JoinRecord, String) {
    let (id, secret) = (token_id(), secret());
    let text = format!("drv1_{}_{secret}_{fingerprint}", plain(id));
    let expires = now.plus(JOIN_TOKEN_LIFE);
    (JoinRecord { id, sha256: sha256_hex(secret.as_bytes()), expires }, text)
}

/// The token that this text is, if it is one.
pub fn find_token(tables: &Tables, text: &str) -> Option<TokenRecord> {
    let (id, secret) = parts(text, "drt1")?;
    tables.tokens.get(id).filter(|token| token.sha256 == sha256_hex(secret.as_bytes())).cloned()
}

/// The unused, unexpired join token that this text is, if it is one.
pub fn find_join(tables: &Tables, text: &str, now: Timestamp) -> Option<JoinRecord> {
    let (id, secret) = parts(text, "drv1")?;
    tables
        .joins
        .get(id)
        .filter(|join| join.expires > now && join.sha256 == sha256_hex(secret.as_bytes()))
        .cloned()
}

fn parts<'a>(text: &'a str, kind: &str) -> Option<(TokenId, &'a str)> {
    let mut fields = text.split('_');
    if fields.next()? != kind {
        return None;
    }
    let id = TokenId::from_str(fields.next()?).ok()?;
    Some((id, fields.next()?))
}

fn plain(id: TokenId) -> String {
    id.to_string().replace('-', "")
}
