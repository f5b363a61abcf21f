//! Opening a database file: ours, of a version we know, in WAL mode.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

/// How long a connection waits for a lock; only a second process could hold one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a database file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// SQLite said no.
    #[error("the database {path} cannot be opened")]
    Sqlite {
        /// Which file.
        path: String,
        /// What SQLite said.
        #[source]
        cause: rusqlite::Error,
    },
    /// It is a database of another program.
    #[error("{path} is not a database of Drover's ({kind})")]
    Foreign {
        /// Which file.
        path: String,
        /// What it should be.
        kind: &'static str,
    },
    /// It was written by a newer version.
    #[error("{path} has schema {found}, this version knows up to {known}; use the newer droverd")]
    Newer {
        /// Which file.
        path: String,
        /// Version in the file.
        found: i64,
        /// Newest version known here.
        known: i64,
    },
}

/// What a kind of file looks like.
pub(crate) struct Schema {
    /// In messages.
    pub(crate) kind: &'static str,
    /// SQLite's `application_id`.
    pub(crate) application_id: i64,
    /// `FULL` or `NORMAL`.
    pub(crate) synchronous: &'static str,
    /// One script per version, in order.
    pub(crate) migrations: &'static [&'static str],
}

/// Opens or creates the file and brings its schema up to date.
pub(crate) fn open(path: &Path, schema: &Schema) -> Result<Connection, OpenError> {
    let name = path.display().to_string();
    let sqlite = |cause| OpenError::Sqlite { path: name.clone(), cause };
    let mut connection = Connection::open(path).map_err(sqlite)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(sqlite)?;
    let number = |pragma: &str| -> Result<i64, OpenError> {
        connection.pragma_query_value(None, pragma, |row| row.get(0)).map_err(sqlite)
    };
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
        .map_err(sqlite)?;
    if application != schema.application_id && (application != 0 || tables != 0) {
        return Err(OpenError::Foreign { path: name, kind: schema.kind });
    }
    let known = i64::try_from(schema.migrations.len()).unwrap_or(i64::MAX);
    if version > known {
        return Err(OpenError::Newer { path: name, found: version, known });
    }
    prepare(&mut connection, schema, version).map_err(sqlite)?;
    Ok(connection)
}

fn prepare(connection: &mut Connection, schema: &Schema, version: i64) -> rusqlite::Result<()> {
    if version == 0 {
        // Takes effect only before the first table.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", schema.synchronous)?;
    for (number, script) in schema.migrations.iter().enumerate() {
        let number = i64::try_from(number).unwrap_or(i64::MAX) + 1;
        if number > version {
            let transaction = connection.transaction()?;
            transaction.execute_batch(script)?;
            transaction.pragma_update(None, "application_id", schema.application_id)?;
            transaction.pragma_update(None, "user_version", number)?;
            transaction.commit()?;
        }
    }
    Ok(())
}
