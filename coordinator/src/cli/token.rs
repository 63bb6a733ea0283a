//! `token`: who may call a coordinator. The first token is made on the table itself, before a coordinator serves from it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use coordinator_core::time::Micros;
use coordinator_store::model::Stamp;
use proto::state::Role;
use proto::v1;
use proto_kit::clock::{Clock, SystemClock};
use tonic::{Response, Status};

use super::connect::{Operator, answer, connect};
use super::{CoordinatorArgs, Failure};
use crate::access::token;
use crate::config::{Flags, Settings};
use crate::output::{NewToken, Tokens, print, print_json, tell, tokens_table};
use crate::server::by_store;
use crate::server::tokens::{new_token, nothing_to_revoke, reply};
use crate::table::OwnTable;

/// What `token` takes.
#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token and print it. It is shown this once; the table keeps its hash.
    Create {
        /// What people call it; unique among all tokens ever made.
        name: String,
        /// What it allows: everything, to look, or what a worker does.
        #[arg(long)]
        role: Role,
        /// How long it is good, such as `90d`; for ever by default.
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        expires: Option<Duration>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// List all tokens, without what opens.
    List {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Take a token's rights away.
    Revoke {
        /// Its name.
        name: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

/// Where the tokens are: with a coordinator, or in a table that no coordinator uses.
#[derive(Debug, Args)]
struct PlaceArgs {
    /// Settings file (TOML) of the table to work on itself, while no coordinator runs.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the table to work on itself.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The table to work on itself: a file, or the URL of a Postgres database.
    #[arg(long, value_name = "FILE|URL")]
    database: Option<String>,
    #[command(flatten)]
    coordinator: CoordinatorArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Who keeps the tokens.
enum Keeper {
    Coordinator(Box<Operator>),
    Table(OwnTable),
}

pub(super) async fn run(args: TokenArgs) -> Result<(), Failure> {
    match args.command {
        Command::Create { name, role, expires, place } => create(name, role, expires, place).await,
        Command::List { place } => list(place).await,
        Command::Revoke { name, place } => revoke(name, place).await,
    }
}

async fn create(
    name: String,
    role: Role,
    expires: Option<Duration>,
    place: PlaceArgs,
) -> Result<(), Failure> {
    let token = token::generate().map_err(Failure::new)?;
    let request = v1::CreateTokenRequest {
        name: name.clone(),
        role: role.name().to_owned(),
        hash: token::hash(token.expose()).to_string(),
        lifetime_ms: expires.map(|lifetime| u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX)),
    };
    place
        .with(async |keeper| match keeper {
            Keeper::Coordinator(operator) => operator.create_token(request).await.map(drop),
            Keeper::Table(table) => {
                let at = stamp(table);
                table.store().create_token(at, new_token(request, at.now)?).await.map_err(by_store)
            }
        })
        .await?;
    if place.json {
        return Ok(print_json(&NewToken { name, role, token: token.expose() })?);
    }
    tell("the token, which is shown this once:");
    Ok(print(token.expose())?)
}

async fn list(place: PlaceArgs) -> Result<(), Failure> {
    let reply = place
        .with(async |keeper| match keeper {
            Keeper::Coordinator(operator) => {
                operator.tokens(v1::TokensRequest {}).await.map(Response::into_inner)
            }
            Keeper::Table(table) => table.store().tokens().await.map(reply).map_err(by_store),
        })
        .await?;
    if place.json {
        return Ok(print_json(&Tokens::from(reply))?);
    }
    Ok(print(&tokens_table(&reply))?)
}

async fn revoke(name: String, place: PlaceArgs) -> Result<(), Failure> {
    place
        .with(async |keeper| match keeper {
            Keeper::Coordinator(operator) => {
                operator.revoke_token(v1::RevokeTokenRequest { name }).await.map(drop)
            }
            Keeper::Table(table) => match table.store().revoke_token(stamp(table), &name).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(nothing_to_revoke(&name)),
                Err(error) => Err(by_store(error)),
            },
        })
        .await
}

impl PlaceArgs {
    /// Does something where the tokens are.
    async fn with<T>(&self, work: impl AsyncFnOnce(&mut Keeper) -> Result<T, Status>) -> Result<T, Failure> {
        let Self { config, dir, database, .. } = self;
        if config.is_none() && dir.is_none() && database.is_none() {
            let mut keeper = Keeper::Coordinator(Box::new(connect(&self.coordinator).await?));
            return answer(work(&mut keeper).await.map(Response::new));
        }
        let flags = Flags { dir: dir.clone(), database: database.clone(), ..Flags::default() };
        let settings = Settings::load(config.as_deref(), flags)?;
        let mut keeper = Keeper::Table(OwnTable::take(&settings).await?);
        let done = work(&mut keeper).await;
        if let Keeper::Table(table) = keeper {
            table.give_back().await?;
        }
        answer(done.map(Response::new))
    }
}

fn stamp(table: &OwnTable) -> Stamp {
    Stamp { term: table.store().term(), now: Micros(SystemClock::default().now_micros()) }
}
