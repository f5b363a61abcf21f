//! `drover token`

use clap::{Subcommand, ValueEnum};
use drover_api::v1::{CreateToken, Role};

use super::{Context, Done, done, problem};
use crate::{output, show};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List API tokens, without their secrets.
    List,
    /// Make an API token; it is shown only now.
    Create {
        /// Who uses it: appears in the audit record.
        name: String,
        /// What it may do.
        #[arg(long, value_enum, default_value_t = RoleName::Viewer)]
        role: RoleName,
    },
    /// Revoke an API token.
    Revoke {
        /// Name or id.
        #[arg(value_name = "TOKEN")]
        which: String,
    },
}

/// What a token may do.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum RoleName {
    /// Read.
    Viewer,
    /// Also change rules and move guests.
    Operator,
    /// Also join hosts and make tokens.
    Admin,
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let client = &context.client;
    match command {
        Command::List => {
            let tokens = client.tokens().await.map_err(problem)?;
            output::print(context.format, &tokens, |_| show::tokens(&tokens))
        }
        Command::Create { name, role } => {
            let role = match role {
                RoleName::Viewer => Role::Viewer,
                RoleName::Operator => Role::Operator,
                RoleName::Admin => Role::Admin,
            };
            let made = client.create_token(&CreateToken { name, role }).await.map_err(problem)?;
            output::print(context.format, &made, |_| made.secret.clone())
        }
        Command::Revoke { which } => {
            client.revoke_token(&which).await.map_err(problem)?;
            done(context, &format!("token {which} is revoked"))
        }
    }
}
