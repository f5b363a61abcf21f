//! Time, ids and randomness: the only place of the controller that has them.

use drover_model::{BaselineId, OperationId, PlanId, RuleId, Timestamp, TokenId};
use drover_ports::Clock;

/// The machine's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
    }
}

/// RFC 3339 in UTC with milliseconds.
pub fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis())
        .map_or_else(|_| at.to_string(), |at| format!("{at:.3}"))
}

/// The date of a moment, UTC: `2026-11-21`.
pub fn date(at: Timestamp) -> String {
    let text = rfc3339(at);
    text.get(..10).unwrap_or(&text).to_owned()
}

/// A new id; later ones sort after earlier ones (UUID version 7).
fn ordered() -> u128 {
    uuid::Uuid::now_v7().as_u128()
}

/// A new operation id, in order of creation.
pub fn operation_id() -> OperationId {
    OperationId::from_u128(ordered())
}

/// A new plan id, in order of creation.
pub fn plan_id() -> PlanId {
    PlanId::from_u128(ordered())
}

/// A new rule id.
pub fn rule_id() -> RuleId {
    RuleId::from_u128(ordered())
}

/// A new baseline id.
pub fn baseline_id() -> BaselineId {
    BaselineId::from_u128(ordered())
}

/// A new token id.
pub fn token_id() -> TokenId {
    TokenId::from_u128(uuid::Uuid::new_v4().as_u128())
}

/// A new secret: 256 random bits, hex.
pub fn secret() -> String {
    let (a, b) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    sha256_hex(&[a.as_bytes().as_slice(), b.as_bytes().as_slice()].concat())
}

/// A seed for the planner's tie-breaking.
pub fn seed() -> u64 {
    let bits = uuid::Uuid::new_v4().as_u128();
    u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default()
}

/// SHA-256, hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
