//! The table of results: writing, reading, broken lines and summaries.

use std::path::Path;

use thalweg::sweep::{Goal, Outcome, Point, Random, Record, SearchSpace, Status, Study, Table};
use thalweg::{Error, Result};

fn space() -> SearchSpace {
    "lr=log:1e-4:1e-1; rule=choice:adam,a \"b\"; n=int:1:9; on=choice:true,false; momentum=uniform:0:1 if rule=adam"
        .parse()
        .expect("a space")
}

fn point(lr: f64, rule: &str) -> Point {
    let point = Point::new().with("lr", lr).with("rule", rule).with("n", 3).with("on", true);
    if rule == "adam" { point.with("momentum", 0.0) } else { point }
}

fn record(trial: u64, metric: Option<f64>, status: Status) -> Record {
    let point = point(1e-4 * (1.0 + trial as f64 / 3.0), if trial.is_multiple_of(2) { "adam" } else { "a \"b\"" });
    Record { trial, parent: None, fold: None, seed: None, rung: 0, steps: 10, metric, status, point }
}

fn table() -> Table {
    let mut table = Table::new(space(), Goal::Minimize);
    for row in [
        record(0, Some(0.1 + 0.2), Status::Complete),
        Record { fold: Some(0), ..record(1, Some(1e-300), Status::Complete) },
        Record { fold: Some(1), seed: Some(7), ..record(1, Some(-3.0), Status::Stopped) },
        Record { parent: Some(0), rung: 2, steps: u64::MAX, ..record(2, None, Status::Failed) },
        record(3, None, Status::Running),
        record(4, Some(0.25), Status::Running),
    ] {
        table.push(row).expect("a row");
    }
    table
}

fn json(text: &str) -> Result<(Table, Vec<Error>)> {
    Table::read_json_lines(text, Path::new("t.jsonl"), space(), Goal::Minimize)
}

fn csv(text: &str) -> Result<(Table, Vec<Error>)> {
    Table::read_csv(text, Path::new("t.csv"), space(), Goal::Minimize)
}

#[test]
fn what_is_written_is_read() {
    assert_eq!(json(&table().json_lines()), Ok((table(), vec![])));
    assert_eq!(csv(&table().csv()), Ok((table(), vec![])));
    let lines = table().json_lines();
    for line in lines.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("JSON");
    }
    assert_eq!(
        lines.lines().nth(1),
        Some(
            "{\"trial\":0,\"parent\":null,\"fold\":null,\"seed\":null,\"rung\":0,\"steps\":10,\"metric\":0.30000000000000004,\
             \"status\":\"complete\",\"settings\":{\"lr\":0.0001,\"rule\":\"adam\",\"n\":3,\"on\":true,\"momentum\":0.0}}"
        )
    );
    let csv = table().csv();
    let mut rows = csv.lines();
    assert_eq!(rows.next(), Some("trial,parent,fold,seed,rung,steps,metric,status,lr,rule,n,on,momentum"));
    assert_eq!(rows.next(), Some("0,,,,0,10,0.30000000000000004,complete,0.0001,adam,3,true,0.0"));
    assert_eq!(rows.next(), Some("1,,0,,0,10,1e-300,complete,0.00013333333333333334,\"a \"\"b\"\"\",3,true,"));
}

#[test]
fn broken_lines_are_named_and_cost_nothing_else() {
    let good: Vec<String> = table().json_lines().lines().map(String::from).collect();
    for (broken, reason) in [
        ("{\"trial\":1", "t.jsonl, line 3, column 11: a comma or the end of the object expected"),
        ("nonsense", "t.jsonl, line 3, column 1: a value expected"),
        ("{\"trial\":9}", "t.jsonl, line 3, column 1: a row without settings"),
        (
            &good[1].replace("\"lr\":0.0001", "\"lr\":5.0"),
            "t.jsonl, line 3, column 1: lr = 5.0 is out of range: in log:0.0001:0.1",
        ),
        (
            &good[1].replace("\"n\":3,", ""),
            "t.jsonl, line 3, column 1: the point lr=0.0001 rule=adam on=true momentum=0.0 needs n, for example 5",
        ),
        (
            &good[1].replace("\"lr\"", "\"lrr\""),
            "t.jsonl, line 3, column 1: unknown parameter 'lrr'; known: lr, rule, n, on, momentum; did you mean lr?",
        ),
        (
            &good[1].replace("complete", "done"),
            "t.jsonl, line 3, column 1: status = 'done', running, complete, stopped or failed expected",
        ),
        (&good[1].replace("\"trial\":0", "\"trial\":-1"), "t.jsonl, line 3, column 1: trial = '-1', a whole number expected"),
        (
            &good[1].replace("0.30000000000000004", "null"),
            "t.jsonl, line 3, column 1: metric of trial 0 = none is out of range: there, as it is complete or stopped",
        ),
    ] {
        let mut lines = good.clone();
        lines.insert(2, broken.into());
        let (read, errors) = json(&lines.join("\n")).expect("a table");
        assert_eq!(read, table(), "{broken}");
        assert_eq!(errors.iter().map(Error::to_string).collect::<Vec<_>>(), [reason]);
    }
    // If the last line is cut anywhere, as by a crash, all others are read.
    let text = table().json_lines();
    let last = text.trim_end().rfind('\n').expect("lines") + 1;
    for end in last..text.len() - 1 {
        let (read, errors) = json(&text[..end]).expect("a table");
        assert_eq!((read.records(), errors.len()), (&table().records()[..5], usize::from(end > last)), "{}", &text[last..end]);
    }
    let rows: Vec<String> = table().csv().lines().map(String::from).collect();
    for (broken, reason) in [
        ("1,2", "t.csv, line 3, column 1: 2 cells, 13 expected"),
        (&rows[1].replace(",adam,", ",\"adam,"), "t.csv, line 3, column 1: a quote that does not end"),
        (&rows[1].replace(",10,", ",ten,"), "t.csv, line 3, column 6: steps = 'ten', a whole number expected"),
        (
            &rows[1].replace("0.30000000000000004", "bad"),
            "t.csv, line 3, column 7: metric = 'bad', a number or nothing expected",
        ),
        (&rows[1].replace(",adam,", ",adan,"), "t.csv, line 3, column 9: rule = adan is out of range: in choice:adam,a \"b\""),
    ] {
        let mut lines = rows.clone();
        lines.insert(2, broken.into());
        let (read, errors) = csv(&(lines.join("\n") + "\n")).expect("a table");
        assert_eq!(read, table(), "{broken}");
        assert_eq!(errors.iter().map(Error::to_string).collect::<Vec<_>>(), [reason]);
    }
    // A number that was cut short is another number, so a cut line is not used, however much of it is there.
    let text = table().csv();
    let last = text.trim_end().rfind('\n').expect("lines") + 1;
    for end in last..text.len() {
        let (read, errors) = csv(&text[..end]).expect("a table");
        assert_eq!((read.records(), errors.len()), (&table().records()[..5], usize::from(end > last)), "{}", &text[last..end]);
    }
}

#[test]
fn a_table_of_another_space_is_refused() {
    let other: SearchSpace = "lr=log:1e-4:1; n=int:1:9".parse().expect("a space");
    let refused = |result: Result<(Table, Vec<Error>)>| result.expect_err("another space").to_string();
    let read = Table::read_json_lines(
        &Table::new(other.clone(), Goal::Minimize).json_lines(),
        Path::new("t"),
        space(),
        Goal::Minimize,
    );
    assert!(
        refused(read)
            .starts_with("t, line 1, column 1: a table of another space: lr=log:0.0001:1.0; n=int:1:9; this one is lr=")
    );
    let read = Table::read_json_lines(&table().json_lines(), Path::new("t"), space(), Goal::Maximize);
    assert_eq!(refused(read), "t, line 1, column 1: a table of another goal: minimize; this one is maximize");
    assert_eq!(refused(json("")), "t.jsonl, line 1, column 1: a value expected");
    assert!(refused(json("{\"trial\":0}")).contains("no first line of a table"));
    assert!(refused(csv("")).contains("a table of another space"));
    assert!(refused(csv(&Table::new(other, Goal::Minimize).csv())).contains("a table of another space"));
}

#[test]
fn later_rows_take_the_place_of_earlier_ones() {
    let mut table = table();
    let before = table.records().len();
    let row = record(3, None, Status::Running).scored(20, 0.5, Status::Complete);
    table.push(row.clone()).expect("a row");
    assert_eq!((table.records().len(), &table.records()[4]), (before, &row));
    table.push(record(3, None, Status::Running).scored(20, f64::NAN, Status::Complete)).expect("a row");
    assert_eq!((table.records()[4].status, table.records()[4].metric), (Status::Failed, None));
    let refused = |row: Record| table.clone().push(row).expect_err("a row").to_string();
    assert_eq!(refused(record(0, Some(f64::NAN), Status::Running)), "metric of trial 0 = NaN is out of range: finite");
    assert_eq!(refused(record(0, Some(1.0), Status::Failed)), "metric of trial 0 = 1 is out of range: none, as it has failed");
    assert!(table.clone().push(Record { point: Point::new(), ..record(0, None, Status::Running) }).is_err());
}

#[test]
fn trials_are_summed_up_over_folds_and_seeds() {
    let mut table = Table::new(space(), Goal::Maximize);
    let mut add = |trial: u64, fold: u64, rung: u64, metric: f64, status: Status| {
        let steps = 10 * (rung + 1);
        table
            .push(Record { fold: Some(fold), rung, ..record(trial, None, status) }.scored(steps, metric, status))
            .expect("a row");
    };
    for (fold, metric) in [(0, 0.7), (1, 0.9), (2, 0.8)] {
        add(0, fold, 0, 0.1, Status::Running);
        add(0, fold, 1, metric, Status::Complete);
    }
    // Trials that are better but were stopped, better but with a failed fold, or equal but later.
    add(1, 0, 0, 0.99, Status::Stopped);
    add(2, 0, 1, 0.99, Status::Complete);
    add(2, 1, 0, f64::NAN, Status::Complete);
    for (fold, metric) in [(0, 0.8), (1, 0.7), (2, 0.9)] {
        add(3, fold, 1, metric, Status::Complete);
    }
    let summaries = table.summaries();
    let first = &summaries[0];
    assert_eq!((first.trial, first.rung, first.steps, first.runs, first.status), (0, 1, 20, 3, Status::Complete));
    assert!((first.mean - 0.8).abs() < 1e-15 && (first.deviation - 0.1).abs() < 1e-15);
    let statuses: Vec<Status> = summaries.iter().map(|summary| summary.status).collect();
    assert_eq!(statuses, [Status::Complete, Status::Stopped, Status::Failed, Status::Complete]);
    assert_eq!(table.best().map(|best| best.trial), Some(0));
    // If no trial is complete, the best is one of those that were stopped last.
    let mut table = Table::new(space(), Goal::Maximize);
    assert_eq!(table.best(), None);
    for (trial, steps, metric) in [(0, 10, 0.9), (1, 30, 0.5), (2, 30, 0.6)] {
        table.push(record(trial, None, Status::Running).scored(steps, metric, Status::Stopped)).expect("a row");
    }
    table.push(record(3, None, Status::Failed)).expect("a row");
    assert_eq!(table.best().map(|best| best.trial), Some(2));
}

#[test]
fn a_search_goes_on_from_its_table() {
    let start = || Study::new(space(), Goal::Minimize, Random { seed: 3 });
    let mut study = start();
    let mut table = Table::new(space(), Goal::Minimize);
    for trial in study.ask(6).expect("trials") {
        table.push(Record::new(&trial)).expect("a row");
        if trial.id < 4 {
            let metric = if trial.id == 2 { f64::NAN } else { trial.id as f64 };
            study.tell(trial.id, metric).expect("a running trial");
            table.push(Record::new(&trial).scored(5, metric, Status::Complete)).expect("a row");
        }
    }
    assert_eq!(table.trials(), study.trials());
    let mut lines: Vec<String> = table.json_lines().lines().map(String::from).collect();
    // The row of trial 1 is lost.
    lines[2].truncate(30);
    let (read, broken) = json(&lines.join("\n")).expect("a table");
    assert_eq!(broken.len(), 1);
    let mut again = start();
    again.resume(read.trials()).expect("trials");
    let asked = again.ask(4).expect("trials");
    assert_eq!(asked.iter().map(|trial| trial.id).collect::<Vec<_>>(), [1, 4, 5, 6]);
    assert_eq!(asked[0].point, study.trials()[1].point);
    assert_eq!(again.trials()[2].outcome, Outcome::Failed);
}
