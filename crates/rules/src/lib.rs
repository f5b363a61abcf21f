//! When a rule fires, and where a guest may go.
//!
//! Three pure parts: metric expressions and windows (`condition`, `window`), the
//! firing of a rule host by host (`firing`), and placement constraints, one per file
//! (`constraint`), checked against an exact bookkeeping of planned moves
//! (`projection`). `preflight` judges one move by what both hosts told. `audit` checks a whole plan afterwards, independently of the search
//! that made it.

pub mod audit;
pub mod baseline;
mod condition;
pub mod constraint;
mod disk_copy;
mod emulation;
pub mod energy;
mod firing;
mod forecast;
mod placement_rule;
pub mod power_line;
pub mod preflight;
mod projection;
mod protection;
mod rule;
mod version;
mod window;

pub use audit::Violation;
pub use condition::{Comparison, Condition, ConditionError, RELIEVABLE};
pub use constraint::{
    PlacementPolicy, Refusal, Verdict, allows_statically, check_movable, check_placement,
};
pub use disk_copy::why_not_copied;
pub use emulation::{Initiative, NAME as EMULATED_MEMORY};
pub use firing::{HostFiring, Transition, advance};
pub use forecast::{COURSE_STEP, Forecast, Pattern, course, forecast};
pub use placement_rule::{Labels, PlacementKind, PlacementRule, Scope, Strength, domain_of};
pub use projection::{Draw, HostLoad, Move, Projection};
pub use protection::{DiskProtection, Protection, protection};
pub use rule::{Aggregate, Rule, RuleLimitError, limits};
pub use version::recovers_post_copy;
pub use window::{WindowSpec, aggregate};
