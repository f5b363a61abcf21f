//! Opening a database file: ours, of a version we know, held by no one else.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

/// How long a connection waits for a lock. Only a tool that looks into the file, or a
/// checkpoint, could hold one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Tokens' hashes and guests' owners are nobody else's business.
const MODE: u32 = 0o600;

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
    /// The system said no: to the file, or to one more thread.
    #[error("the database {path} cannot be opened")]
    System {
        /// Which file.
        path: String,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// Another process has it open.
    #[error("{path} is in use by another process; is droverd running already?")]
    InUse {
        /// Which file.
        path: String,
    },
    /// It is no database, or one of another program.
    #[error("{path} is not a {kind} of Drover's; move it away or choose another directory")]
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
    /// One script per version, in order. A script that was released never changes.
    pub(crate) migrations: &'static [&'static str],
}

/// A file that this process alone has open.
pub(crate) struct Database {
    path: PathBuf,
    schema: &'static Schema,
    lock: File,
}

impl Database {
    /// Opens or creates the file, brings its schema up to date, and returns the
    /// connection that may write.
    pub(crate) fn open(
        path: &Path,
        schema: &'static Schema,
    ) -> Result<(Self, Connection), OpenError> {
        let database = Self { path: path.to_owned(), schema, lock: lock(path)? };
        // SQLite would create it for everyone to read.
        create(path).map_err(|cause| database.system(cause))?;
        let mut connection = database.connect()?;
        let version = database.version(&connection)?;
        migrate(&mut connection, schema, version).map_err(|cause| database.sqlite(cause))?;
        Ok((database, connection))
    }

    /// One more connection.
    pub(crate) fn connect(&self) -> Result<Connection, OpenError> {
        let connection = Connection::open(&self.path).map_err(|cause| self.sqlite(cause))?;
        connection
            .busy_timeout(BUSY_TIMEOUT)
            .and_then(|()| connection.pragma_update(None, "synchronous", self.schema.synchronous))
            .map_err(|cause| self.sqlite(cause))?;
        Ok(connection)
    }

    /// So many connections that only read.
    pub(crate) fn readers(&self, count: usize) -> Result<Vec<Connection>, OpenError> {
        let reader = || {
            let connection = self.connect()?;
            connection
                .pragma_update(None, "query_only", true)
                .map_err(|cause| self.sqlite(cause))?;
            Ok(connection)
        };
        (0..count).map(|_| reader()).collect()
    }

    /// Ends the opening. The file stays ours until what is returned is dropped.
    pub(crate) fn into_lock(self) -> File {
        self.lock
    }

    pub(crate) fn sqlite(&self, cause: rusqlite::Error) -> OpenError {
        let path = self.path.display().to_string();
        if cause.sqlite_error_code() == Some(ErrorCode::NotADatabase) {
            return OpenError::Foreign { path, kind: self.schema.kind };
        }
        OpenError::Sqlite { path, cause }
    }

    pub(crate) fn system(&self, cause: std::io::Error) -> OpenError {
        OpenError::System { path: self.path.display().to_string(), cause }
    }

    /// The schema's version, 0 for a new file.
    fn version(&self, connection: &Connection) -> Result<i64, OpenError> {
        let path = self.path.display().to_string();
        let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        let read = || {
            let application = number("PRAGMA application_id")?;
            let version = number("PRAGMA user_version")?;
            Ok((application, version, number("SELECT count(*) FROM sqlite_master")?))
        };
        let (application, version, tables) = read().map_err(|cause| self.sqlite(cause))?;
        let new = application == 0 && tables == 0 && version == 0;
        if application != self.schema.application_id && !new {
            return Err(OpenError::Foreign { path, kind: self.schema.kind });
        }
        let known = i64::try_from(self.schema.migrations.len()).unwrap_or(i64::MAX);
        if version > known {
            return Err(OpenError::Newer { path, found: version, known });
        }
        Ok(version)
    }
}

/// Takes a file beside the database, not the database itself: closing any descriptor of
/// that would drop the locks that SQLite holds on it.
fn lock(path: &Path) -> Result<File, OpenError> {
    let shown = || path.display().to_string();
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let file =
        create(Path::new(&beside)).map_err(|cause| OpenError::System { path: shown(), cause })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: shown() }),
        Err(TryLockError::Error(cause)) => Err(OpenError::System { path: shown(), cause }),
    }
}

fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}

fn migrate(connection: &mut Connection, schema: &Schema, version: i64) -> rusqlite::Result<()> {
    if version == 0 {
        // Takes effect only before the first table.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    for (number, script) in (1_i64..).zip(schema.migrations) {
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

#[cfg(test)]
mod tests {
    use super::*;

    static FIRST: Schema = Schema {
        kind: "test",
        application_id: 7,
        synchronous: "FULL",
        migrations: &["CREATE TABLE t (x); INSERT INTO t VALUES (1);"],
    };
    static SECOND: Schema = Schema {
        migrations: &[FIRST.migrations[0], "ALTER TABLE t ADD y; UPDATE t SET y = x + 1;"],
        ..FIRST
    };
    static BROKEN: Schema = Schema {
        migrations: &[FIRST.migrations[0], "ALTER TABLE t ADD y; SELECT nothing FROM nowhere;"],
        ..FIRST
    };

    fn number(connection: &Connection, sql: &str) -> i64 {
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn an_older_file_is_migrated_and_a_newer_one_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        drop(Database::open(&path, &FIRST).unwrap());
        let (_database, connection) = Database::open(&path, &SECOND).unwrap();
        assert_eq!(number(&connection, "SELECT y FROM t"), 2);
        assert_eq!(number(&connection, "PRAGMA user_version"), 2);
        drop((_database, connection));
        let result = Database::open(&path, &FIRST);
        assert!(matches!(result, Err(OpenError::Newer { found: 2, known: 1, .. })));
    }

    #[test]
    fn a_migration_that_fails_leaves_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        drop(Database::open(&path, &FIRST).unwrap());
        assert!(matches!(Database::open(&path, &BROKEN), Err(OpenError::Sqlite { .. })));
        let (_database, connection) = Database::open(&path, &SECOND).unwrap();
        assert_eq!(number(&connection, "SELECT y FROM t"), 2);
    }

    #[test]
    fn connections_are_as_durable_as_the_schema_says() {
        let dir = tempfile::tempdir().unwrap();
        let (database, connection) = Database::open(&dir.path().join("t.db"), &FIRST).unwrap();
        let connections = [connection, database.connect().unwrap()];
        for connection in connections {
            assert_eq!(number(&connection, "PRAGMA synchronous"), 2, "FULL");
            let mode: String =
                connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
            assert_eq!(mode, "wal");
        }
    }

    #[test]
    fn a_file_of_something_else_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("notes.txt");
        let words = "no database at all, ".repeat(100);
        std::fs::write(&text, &words).unwrap();
        assert!(matches!(Database::open(&text, &FIRST), Err(OpenError::Foreign { .. })));
        assert_eq!(std::fs::read_to_string(&text).unwrap(), words);
        let other = dir.path().join("other.db");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
        assert!(matches!(Database::open(&other, &FIRST), Err(OpenError::Foreign { .. })));
        let missing = dir.path().join("no/such/directory.db");
        assert!(matches!(Database::open(&missing, &FIRST), Err(OpenError::System { .. })));
    }

    #[test]
    fn a_file_is_opened_once_at_a_time_and_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        let opened = Database::open(&path, &FIRST).unwrap();
        assert!(matches!(Database::open(&path, &FIRST), Err(OpenError::InUse { .. })));
        for name in ["t.db", "t.db-wal", "t.db.lock"] {
            let mode = std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, MODE, "{name}");
        }
        drop(opened);
        assert!(Database::open(&path, &FIRST).is_ok());
    }
}
