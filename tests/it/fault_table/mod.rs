//! What becomes of a launch when something fails: every fault, with every state of the cache. The table
//! of `docs/faults.md` is made of what is asserted here.

mod cell;
mod rows;
mod world;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cell::{STATES, check};
use rows::{Row, rows};

/// Most cells wait for something: far more run at once than there are processors.
const AT_ONCE: usize = 24;
const HEADER: &str = "| where | fault |";

#[test]
fn every_fault_with_every_state_of_the_cache() {
    let rows = rows();
    let cells: Vec<(&Row, usize)> =
        rows.iter().flat_map(|row| (0..STATES.len()).map(move |state| (row, state))).collect();
    let next = AtomicUsize::new(0);
    let problems = Mutex::new(Vec::new());
    let started = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(&(row, state)) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    for problem in check(row, state) {
                        let cell = format!("{}: {} | {}", row.place, row.fault, STATES[state].title);
                        problems.lock().expect("no thread panics in it").push(format!("{cell}: {problem}"));
                    }
                }
            });
        }
    });
    let problems = problems.into_inner().expect("no thread panicked in it");
    println!("{} faults, {} cells, {:?}", rows.len(), cells.len(), started.elapsed());
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

/// `UPDATE_DOCS=1 cargo test --test it -- fault_table` writes it.
#[test]
fn the_document_has_this_table() {
    let rows = rows();
    assert!(rows.len() >= 40);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/faults.md");
    let document = fs::read_to_string(&path).expect("the document is there");
    let (before, documented) = document.split_at(document.find(HEADER).expect("it has the table"));
    let table = render(&rows);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{before}{table}")).expect("the document can be written");
    } else {
        let remedy = "write it anew with UPDATE_DOCS=1 cargo test --test it -- fault_table";
        assert_eq!(documented, table, "docs/faults.md is not what the tests assert: {remedy}");
    }
}

fn render(rows: &[Row]) -> String {
    let titles: Vec<&str> = STATES.iter().map(|state| state.title).collect();
    let mut table = format!("{HEADER} {} |\n|---|---|{}\n", titles.join(" | "), "---|".repeat(titles.len()));
    for row in rows {
        let cells: Vec<String> = row.expected.iter().map(ToString::to_string).collect();
        writeln!(table, "| {} | {} | {} |", row.place, row.fault, cells.join(" | ")).expect("text grows");
    }
    table
}
