//! Every path, verb, role and type of version 1 in one table. The OpenAPI document is
//! made from it, and the controller's router is tested against it.

use crate::v1::Role;

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody: the answer is public or the body carries its own credential.
    Open,
    /// A bearer token with at least this role.
    Role(Role),
}

/// One route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: &'static str,
    /// With parameters in braces.
    pub path: &'static str,
    /// Who may call.
    pub access: Access,
    /// Type of the body, if it takes one.
    pub request: Option<&'static str>,
    /// Type of the answer; none for no content. `[T]` is a list, `text` is plain text and
    /// `stream T` is server-sent events.
    pub response: Option<&'static str>,
    /// Type of the query, if it takes one.
    pub query: Option<&'static str>,
    /// Status of success.
    pub status: u16,
    /// One sentence.
    pub summary: &'static str,
}

const VIEWER: Access = Access::Role(Role::Viewer);
const OPERATOR: Access = Access::Role(Role::Operator);
const ADMIN: Access = Access::Role(Role::Admin);

macro_rules! routes {
    ($($method:ident $path:literal $access:expr, $request:expr, $response:expr, $query:expr, $status:literal, $summary:literal;)+) => {
        /// All routes.
        pub const ROUTES: &[Route] = &[$(Route {
            method: stringify!($method), path: $path, access: $access, request: $request,
            response: $response, query: $query, status: $status, summary: $summary,
        }),+];
    };
}

routes! {
    GET "/v1/hosts" VIEWER, None, Some("[Host]"), None, 200, "List hosts.";
    GET "/v1/hosts/{host}" VIEWER, None, Some("HostDetail"), None, 200, "Show a host.";
    DELETE "/v1/hosts/{host}" ADMIN, None, None, Some("RemoveHostQuery"), 204, "Remove a host that will not come back.";
    GET "/v1/hosts/{host}/metrics/{metric}" VIEWER, None, Some("Series"), Some("SeriesQuery"), 200, "Read a host's metric history.";
    GET "/v1/hosts/{host}/power-curve" VIEWER, None, Some("PowerCurve"), Some("PowerCurveQuery"), 200, "Show what a host draws by its CPU use.";
    POST "/v1/hosts/tokens" ADMIN, None, Some("JoinToken"), None, 201, "Make a one-time join token.";
    GET "/v1/guests" VIEWER, None, Some("[Guest]"), None, 200, "List guests.";
    GET "/v1/guests/{guest}" VIEWER, None, Some("GuestDetail"), None, 200, "Show a guest.";
    GET "/v1/guests/{guest}/check" VIEWER, None, Some("GuestCheck"), Some("CheckQuery"), 200, "Check which hosts a guest could go to, and why not.";
    GET "/v1/guests/{guest}/history" VIEWER, None, Some("[PastMove]"), None, 200, "List the moves of a guest, the newest first.";
    GET "/v1/guests/{guest}/metrics/{metric}" VIEWER, None, Some("Series"), Some("SeriesQuery"), 200, "Read a guest's metric history.";
    GET "/v1/guests/{guest}/policy" VIEWER, None, Some("GuestPolicy"), None, 200, "Show how a guest may be moved.";
    PUT "/v1/guests/{guest}/policy" OPERATOR, Some("SetGuestPolicy"), Some("GuestPolicy"), None, 200, "Say how a guest may be moved.";
    DELETE "/v1/guests/{guest}/policy" OPERATOR, None, None, None, 204, "Let a guest be moved as every guest again.";
    POST "/v1/guests/{guest}/migrate" OPERATOR, Some("MigrateRequest"), Some("MigrateResponse"), None, 202, "Move a guest to another host: live, cold, or from a dead host.";
    POST "/v1/migrations" OPERATOR, Some("MigrateSeveralRequest"), Some("MigrateSeveralResponse"), None, 202, "Move several guests by one plan.";
    PUT "/v1/hosts/{host}/maintenance" OPERATOR, Some("DrainRequest"), Some("DrainResponse"), None, 202, "Empty a host and keep it empty.";
    DELETE "/v1/hosts/{host}/maintenance" OPERATOR, None, None, None, 204, "Use a host again.";
    GET "/v1/hosts/{host}/power" VIEWER, None, Some("HostPower"), None, 200, "Show what a host draws and how it is switched on and off.";
    PATCH "/v1/hosts/{host}/power" OPERATOR, Some("SetHostPower"), Some("HostPower"), None, 200, "Say how a host is woken and whether it may be parked.";
    GET "/v1/hosts/{host}/bmc" VIEWER, None, Some("HostBmc"), None, 200, "Show a host's BMC, without its password.";
    PUT "/v1/hosts/{host}/bmc" ADMIN, Some("SetBmc"), Some("HostBmc"), None, 200, "Name a host's BMC and the password for it.";
    DELETE "/v1/hosts/{host}/bmc" ADMIN, None, None, None, 204, "Forget a host's BMC and its password.";
    POST "/v1/hosts/{host}/wake" OPERATOR, None, Some("HostPower"), None, 202, "Wake a host and see to it that it is of use.";
    POST "/v1/hosts/{host}/park" OPERATOR, Some("ParkRequest"), Some("ParkResponse"), None, 202, "Empty a host and switch it off to save power.";
    POST "/v1/hosts/{host}/check-wake" OPERATOR, None, Some("HostPower"), None, 202, "Park a host and wake it again, as a test.";
    GET "/v1/reserve" VIEWER, None, Some("Reserve"), None, 200, "Show how much of the cluster stays awake.";
    PUT "/v1/reserve" OPERATOR, Some("Reserve"), Some("Reserve"), None, 200, "Say how much of the cluster stays awake.";
    GET "/v1/limits" VIEWER, None, Some("LimitsInForce"), None, 200, "Show how many migrations may be under way at once.";
    PUT "/v1/limits" OPERATOR, Some("Limits"), Some("LimitsInForce"), None, 200, "Set how many migrations may be under way at once.";
    GET "/v1/history" VIEWER, None, Some("HistoryPage"), Some("HistoryQuery"), 200, "Read everyone's history of what rules look at, page by page.";
    GET "/v1/rules" VIEWER, None, Some("[Rule]"), None, 200, "List rules.";
    POST "/v1/rules" OPERATOR, Some("CreateRule"), Some("Rule"), None, 201, "Create a rule.";
    GET "/v1/rules/{rule}" VIEWER, None, Some("Rule"), None, 200, "Show a rule.";
    PATCH "/v1/rules/{rule}" OPERATOR, Some("UpdateRule"), Some("Rule"), None, 200, "Change, enable or disable a rule.";
    DELETE "/v1/rules/{rule}" OPERATOR, None, None, None, 204, "Delete a rule.";
    POST "/v1/rules/{rule}/test" VIEWER, None, Some("RuleTest"), None, 200, "Evaluate a rule now and say what it would do.";
    GET "/v1/placement-rules" VIEWER, None, Some("[PlacementRule]"), None, 200, "List placement rules and whether they hold.";
    POST "/v1/placement-rules" OPERATOR, Some("CreatePlacementRule"), Some("PlacementRule"), None, 201, "Create a placement rule.";
    DELETE "/v1/placement-rules/{name}" OPERATOR, None, None, None, 204, "Delete a placement rule.";
    PATCH "/v1/hosts/{host}/labels" OPERATOR, Some("UpdateLabels"), Some("HostLabels"), None, 200, "Set and take away labels of a host.";
    GET "/v1/power/report" VIEWER, None, Some("PowerReport"), Some("PowerReportQuery"), 200, "Tell what hosts have drawn and what parking has saved, by host, day and month.";
    GET "/v1/policies" VIEWER, None, Some("Policies"), None, 200, "Show the standing policies.";
    PUT "/v1/policies/balance" OPERATOR, Some("SetBalance"), Some("BalancePolicy"), None, 200, "Keep the load even from now on.";
    DELETE "/v1/policies/balance" OPERATOR, None, None, None, 204, "No longer keep the load even.";
    PUT "/v1/policies/power-caps/{name}" OPERATOR, Some("SetPowerCap"), Some("PowerCap"), None, 200, "Cap what a group of hosts draws.";
    DELETE "/v1/policies/power-caps/{name}" OPERATOR, None, None, None, 204, "End a power cap.";
    PUT "/v1/policies/power" OPERATOR, Some("SetPower"), Some("PowerPolicy"), None, 200, "Park and wake hosts from now on.";
    DELETE "/v1/policies/power" OPERATOR, None, None, None, 204, "No longer park and wake hosts.";
    GET "/v1/policies/power/decision" VIEWER, None, Some("PowerDecision"), None, 200, "Show what the power policy decided last, with its numbers.";
    GET "/v1/operations" VIEWER, None, Some("[Operation]"), None, 200, "List operations, the newest first.";
    GET "/v1/operations/{operation}" VIEWER, None, Some("Operation"), None, 200, "Show an operation.";
    PATCH "/v1/operations/{operation}" OPERATOR, Some("AdjustRequest"), Some("Operation"), None, 202, "Change a live migration that is under way: downtime, bandwidth, post-copy.";
    POST "/v1/operations/{operation}/cancel" OPERATOR, None, Some("Operation"), None, 202, "Cancel a running operation.";
    GET "/v1/plans" VIEWER, None, Some("[Plan]"), None, 200, "List plans, the newest first.";
    GET "/v1/plans/{plan}" VIEWER, None, Some("Plan"), None, 200, "Show a plan with its report.";
    POST "/v1/plans/preview" VIEWER, Some("PreviewRequest"), Some("Plan"), None, 201, "Plan for a goal, also under a what-if, and move nothing.";
    POST "/v1/plans/{plan}/apply" OPERATOR, Some("ApplyRequest"), Some("Plan"), None, 202, "Carry out a proposed plan.";
    POST "/v1/plans/{plan}/why-not" VIEWER, Some("WhyNotRequest"), Some("WhyNot"), None, 200, "Say why a plan does not send a guest to a host.";
    GET "/v1/baselines" VIEWER, None, Some("[Baseline]"), None, 200, "List CPU baselines and which hosts changed since.";
    PUT "/v1/baselines/{group}" OPERATOR, Some("ComputeBaseline"), Some("Baseline"), None, 200, "Compute the CPU that fits every host of a group.";
    POST "/v1/baselines/{group}/apply" OPERATOR, Some("ApplyBaseline"), Some("[AppliedCpu]"), None, 200, "Write a baseline into guests' definitions.";
    GET "/v1/baselines/{group}/trapped" VIEWER, None, Some("[TrappedGuest]"), Some("TrappedQuery"), 200, "Find guests whose CPU no other host of a group has.";
    GET "/v1/events" VIEWER, None, Some("[Event]"), Some("EventQuery"), 200, "Read events, the oldest first.";
    GET "/v1/watch" VIEWER, None, Some("stream Watch"), None, 200, "Follow events, operations and samples live (server-sent events).";
    GET "/v1/tokens" ADMIN, None, Some("[Token]"), None, 200, "List API tokens.";
    POST "/v1/tokens" ADMIN, Some("CreateToken"), Some("CreatedToken"), None, 201, "Make an API token.";
    DELETE "/v1/tokens/{token}" ADMIN, None, None, None, 204, "Revoke an API token.";
    GET "/v1/ca" Access::Open, None, Some("CaCertificate"), None, 200, "Read the controller's CA certificate.";
    POST "/v1/agents/enroll" Access::Open, Some("EnrollRequest"), Some("EnrollResponse"), None, 201, "Join a host with a one-time token.";
    GET "/v1/version" Access::Open, None, Some("Version"), None, 200, "Read the version.";
    GET "/v1/openapi.json" Access::Open, None, Some("text"), None, 200, "Read this document.";
    GET "/metrics" VIEWER, None, Some("text"), None, 200, "Read Prometheus metrics.";
    GET "/healthz" Access::Open, None, Some("text"), None, 200, "Say that the server is up.";
}
