//! [`Files`], where a relative file name in SQL leads, and tables that are named like files.
//!
//! One rule for all names: a file is read from the working directory or, if it is not there, from
//! the script's own folder; a file is written to the working directory. So a script and its data
//! move together, whoever calls it from wherever.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use datafusion::catalog::{DynamicFileCatalog, TableProvider, UrlTableFactory};
use datafusion::common::{plan_datafusion_err, plan_err};
use datafusion::datasource::dynamic_file::DynamicListTableFactory;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::error::Result;
use datafusion::execution::context::SessionState;
use datafusion::sql::parser::Statement as SqlStatement;

use crate::session::FarcallSession;
use crate::sql::Statement;

/// A kind of file that can be queried by name.
struct Kind {
    extension: &'static str,
    /// DataFusion's name of the format, and the options that differ from its defaults.
    format: &'static str,
    options: &'static [(&'static str, &'static str)],
}

const KINDS: [Kind; 6] = [
    Kind { extension: "parquet", format: "parquet", options: &[] },
    Kind { extension: "csv", format: "csv", options: &[] },
    Kind { extension: "tsv", format: "csv", options: &[("format.delimiter", "	")] },
    Kind { extension: "json", format: "json", options: &[] },
    Kind { extension: "ndjson", format: "json", options: &[] },
    Kind { extension: "jsonl", format: "json", options: &[] },
];

impl Kind {
    fn of(extension: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.extension.eq_ignore_ascii_case(extension))
    }
}

/// Where a relative file name leads.
#[derive(Debug, Clone)]
pub struct Files {
    working_dir: PathBuf,
    script_dir: Arc<Mutex<Option<PathBuf>>>,
}

impl Files {
    /// Starts from a working directory, which should be absolute.
    pub fn new(working_dir: impl Into<PathBuf>) -> Self {
        Files { working_dir: working_dir.into(), script_dir: Arc::default() }
    }

    /// Starts from the process's working directory.
    ///
    /// # Errors
    /// An error of the system if the directory is gone.
    pub fn here() -> std::io::Result<Self> {
        Ok(Self::new(std::env::current_dir()?))
    }

    /// Says in which folder the script lies that runs from now on.
    pub fn set_script_dir(&self, dir: Option<PathBuf>) {
        let dir = dir.map(|dir| self.working_dir.join(dir));
        *self.script_dir.lock().unwrap_or_else(PoisonError::into_inner) = dir;
    }

    /// Returns the path of a file to read, and whether there is one.
    ///
    /// A pattern (`data/*.csv`) counts as there when the folder before its first wild card is.
    fn to_read(&self, name: &str) -> (PathBuf, bool) {
        let first = self.working_dir.join(name);
        let script_dir = self.script_dir.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let second = script_dir.map(|dir| dir.join(name));
        match second {
            _ if is_there(&first) => (first, true),
            Some(second) if is_there(&second) => (second, true),
            _ => (first, false),
        }
    }

    /// Returns the places that were looked at, for a message.
    fn looked_in(&self) -> String {
        let script_dir = self.script_dir.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match script_dir.filter(|dir| *dir != self.working_dir) {
            Some(dir) => format!("{} and {}", self.working_dir.display(), dir.display()),
            None => self.working_dir.display().to_string(),
        }
    }

    /// Makes the file names of COPY and CREATE EXTERNAL TABLE follow the rule.
    pub fn resolve(&self, statement: &mut Statement) {
        match statement {
            Statement::DataFusion(statement) => self.resolve_sql(statement),
            Statement::CreateLookupTable(table) => {
                let named = |option: &str| option.eq_ignore_ascii_case("location");
                let locations = table.options.iter_mut().filter(|(option, _)| named(option));
                locations.for_each(|(_, location)| self.resolve_location(location));
            }
            // The other statements of farcall's own name no file.
            _ => {}
        }
    }

    fn resolve_location(&self, location: &mut String) {
        if !is_relative(location) {
            return;
        }
        let trailing = location.ends_with('/');
        let (path, _) = self.to_read(location);
        *location = path.display().to_string();
        if trailing && !location.ends_with('/') {
            location.push('/');
        }
    }

    fn resolve_sql(&self, statement: &mut SqlStatement) {
        match statement {
            SqlStatement::CreateExternalTable(table) => {
                table.locations.iter_mut().for_each(|location| self.resolve_location(location));
            }
            SqlStatement::CopyTo(copy) => {
                if is_relative(&copy.target) {
                    copy.target = self.working_dir.join(&copy.target).display().to_string();
                }
            }
            SqlStatement::Explain(explain) => self.resolve_sql(&mut explain.statement),
            SqlStatement::Statement(_) | SqlStatement::Reset(_) => {}
        }
    }
}

/// Makes a session in which files can be queried by name: `SELECT * FROM 'data/reviews.csv'`.
///
/// # Errors
/// What [`FarcallSession::new`] fails with.
pub fn session(files: &Files) -> Result<FarcallSession> {
    let session = FarcallSession::new()?;
    let context = session.context();
    let state = DynamicListTableFactory::default();
    state.session_store().with_state(context.state_weak_ref());
    let tables = Arc::new(FileTables { files: files.clone(), state });
    let catalogs = Arc::clone(context.state().catalog_list());
    context.register_catalog_list(Arc::new(DynamicFileCatalog::new(catalogs, tables)));
    let state = context.state_ref();
    let mut state = state.write();
    let options = state.config_mut().options_mut();
    // SHOW TABLES, SHOW COLUMNS and SHOW ALL read the information schema.
    options.catalog.information_schema = true;
    // Without it, the message about a wrong column or table could not say where it stands.
    options.sql_parser.collect_spans = true;
    drop(state);
    Ok(session)
}

/// Turns a table name that names a file into a table.
#[derive(Debug)]
struct FileTables {
    files: Files,
    /// Keeps a weak reference to the session's state, which the tables are made from.
    state: DynamicListTableFactory,
}

impl FileTables {
    fn state(&self) -> Result<SessionState> {
        let session = self.state.session_store().get_session();
        session
            .upgrade()
            .and_then(|session| session.read().as_any().downcast_ref::<SessionState>().cloned())
            .ok_or_else(|| plan_datafusion_err!("the session of the file tables has ended"))
    }

    async fn listing(&self, path: &str, extension: &str) -> Result<Arc<dyn TableProvider>> {
        let state = self.state()?;
        let Some(kind) = Kind::of(extension) else {
            let known: Vec<_> = KINDS.iter().map(|kind| format!(".{}", kind.extension)).collect();
            return plan_err!("file '{path}' has no known extension: {}", known.join(", "));
        };
        let format = kind.format;
        let factory = state
            .get_file_format_factory(format)
            .ok_or_else(|| plan_datafusion_err!("the session has no file format '{format}'"))?;
        let options: HashMap<_, _> =
            kind.options.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let listing = ListingOptions::new(factory.create(&state, &options)?)
            .with_file_extension(format!(".{extension}"));
        let config = ListingTableConfig::new(ListingTableUrl::parse(path)?)
            .with_listing_options(listing)
            .infer_schema(&state)
            .await
            .map_err(|error| error.context(format!("cannot read the columns of '{path}'")))?;
        if config.file_schema.as_ref().is_none_or(|schema| schema.fields().is_empty()) {
            return plan_err!("file '{path}' has no columns: it is empty, or nothing matches it");
        }
        Ok(Arc::new(ListingTable::try_new(config)?))
    }
}

#[async_trait]
impl UrlTableFactory for FileTables {
    async fn try_new(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let extension = Path::new(name).extension().and_then(|e| e.to_str()).unwrap_or_default();
        if name.contains("://") {
            return match self.listing(name, extension).await {
                Ok(table) => Ok(Some(table)),
                Err(error) => Err(error.context(format!("cannot read '{name}'"))),
            };
        }
        let known = Kind::of(extension).is_some();
        let (path, there) = self.files.to_read(name);
        if !there {
            // A name that does not look like a file is an unknown table, which DataFusion reports.
            return match known || name.contains('/') {
                true => plan_err!("file '{name}' not found in {}", self.files.looked_in()),
                false => Ok(None),
            };
        }
        if path.is_dir() {
            // A folder's name must end in a slash, else the folder is taken for a file.
            let folder = format!("{}/", path.display().to_string().trim_end_matches('/'));
            return match self.state.try_new(&folder).await? {
                Some(table) => Ok(Some(table)),
                None => plan_err!("folder '{name}' holds no file that can be read"),
            };
        }
        self.listing(&path.display().to_string(), extension).await.map(Some)
    }
}

fn is_relative(name: &str) -> bool {
    !name.contains("://") && Path::new(name).is_relative()
}

fn is_there(path: &Path) -> bool {
    let text = path.to_string_lossy();
    match text.find(['*', '?', '[']) {
        Some(_) if path.exists() => true,
        Some(at) => {
            let folder = text[..at].rfind('/').map_or(".", |slash| &text[..slash]);
            Path::new(folder).is_dir()
        }
        None => path.exists(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reads_csv_tsv_and_both_spellings_of_ndjson_by_name() {
        let dir = folder(&[
            ("a.csv", "x,y\n1,one\n"),
            ("b.tsv", "x\ty\n2\ttwo, or 2\n"),
            ("c.ndjson", "{\"x\": 3, \"y\": \"three\"}\n"),
            ("d.json", "{\"x\": 4, \"y\": \"four\"}\n"),
        ]);
        let session = session(&Files::new(dir.path())).unwrap();
        for (name, x) in [("a.csv", 1), ("b.tsv", 2), ("c.ndjson", 3), ("d.json", 4)] {
            let sql = format!("SELECT y FROM '{name}' WHERE x = {x}");
            assert_eq!(count(&session, &sql).await.unwrap(), 1, "{name}");
        }
    }

    #[tokio::test]
    async fn a_written_parquet_file_is_read_by_name() {
        let dir = folder(&[("a.csv", "x\n1\n2\n")]);
        let files = Files::new(dir.path());
        let session = session(&files).unwrap();
        count_with(&session, &files, "COPY (SELECT * FROM 'a.csv') TO 'b.parquet'").await.unwrap();
        assert!(dir.path().join("b.parquet").is_file());
        assert_eq!(count(&session, "SELECT * FROM 'b.parquet'").await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_missing_file_is_named_with_the_folders_that_were_looked_in() {
        let dir = folder(&[]);
        let files = Files::new(dir.path());
        files.set_script_dir(Some(PathBuf::from("scripts")));
        let error = count(&session(&files).unwrap(), "SELECT * FROM 'no.csv'").await.unwrap_err();
        let at = dir.path().display();
        assert!(error.contains(&format!("file 'no.csv' not found in {at} and {at}/scripts")));
    }

    #[tokio::test]
    async fn an_unknown_table_stays_an_unknown_table() {
        let dir = folder(&[]);
        let session = session(&Files::new(dir.path())).unwrap();
        let error = count(&session, "SELECT * FROM reviews").await.unwrap_err();
        assert!(error.contains("reviews' not found") && !error.contains("file"), "{error}");
    }

    #[tokio::test]
    async fn an_empty_file_and_an_unknown_extension_are_said_to_be_so() {
        let dir = folder(&[("a.csv", ""), ("a.xlsx", "x")]);
        let session = session(&Files::new(dir.path())).unwrap();
        let error = count(&session, "SELECT * FROM 'a.csv'").await.unwrap_err();
        assert!(error.contains("has no columns"), "{error}");
        let error = count(&session, "SELECT * FROM 'a.xlsx'").await.unwrap_err();
        assert!(error.contains("no known extension: .parquet, .csv"), "{error}");
    }

    #[tokio::test]
    async fn show_tables_lists_what_was_created() {
        let dir = folder(&[]);
        let session = session(&Files::new(dir.path())).unwrap();
        let before = count(&session, "SHOW TABLES").await.unwrap();
        count(&session, "CREATE VIEW v AS SELECT 1").await.unwrap();
        assert_eq!(count(&session, "SHOW TABLES").await.unwrap(), before + 1);
    }

    #[tokio::test]
    async fn the_working_directory_comes_before_the_scripts_folder() {
        let dir = folder(&[("a.csv", "x\n1\n"), ("s/a.csv", "x\n1\n2\n"), ("s/b.csv", "x\n1\n")]);
        let files = Files::new(dir.path());
        files.set_script_dir(Some(PathBuf::from("s")));
        let session = session(&files).unwrap();
        assert_eq!(count(&session, "SELECT * FROM 'a.csv'").await.unwrap(), 1);
        assert_eq!(count(&session, "SELECT * FROM 'b.csv'").await.unwrap(), 1);
    }

    #[tokio::test]
    async fn patterns_and_folders_read_all_their_files() {
        let dir = folder(&[("d/a.csv", "x\n1\n"), ("d/b.csv", "x\n2\n")]);
        let session = session(&Files::new(dir.path())).unwrap();
        assert_eq!(count(&session, "SELECT * FROM 'd/*.csv'").await.unwrap(), 2);
        assert_eq!(count(&session, "SELECT * FROM 'd/'").await.unwrap(), 2);
    }

    #[tokio::test]
    async fn an_external_table_may_lie_beside_the_script() {
        let dir = folder(&[("s/a.csv", "x\n1\n2\n")]);
        let files = Files::new(dir.path());
        files.set_script_dir(Some(PathBuf::from("s")));
        let session = session(&files).unwrap();
        let create = "CREATE EXTERNAL TABLE a STORED AS CSV LOCATION 'a.csv'";
        count_with(&session, &files, create).await.unwrap();
        assert_eq!(count(&session, "SELECT * FROM a").await.unwrap(), 2);
    }

    async fn count(session: &FarcallSession, sql: &str) -> Result<usize, String> {
        count_with(session, &Files::new("/"), sql).await
    }

    async fn count_with(
        session: &FarcallSession,
        files: &Files,
        sql: &str,
    ) -> Result<usize, String> {
        let mut statement = session.parse(sql).map_err(|e| e.to_string())?.remove(0);
        files.resolve(&mut statement);
        let frame = session.execute(statement).await.map_err(|e| e.to_string())?;
        frame.count().await.map_err(|e| e.to_string())
    }

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        dir
    }
}
