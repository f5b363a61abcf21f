//! Whatever a file holds: a trace, or an error with a cure, and never a panic.

use std::path::Path;

use drover_sim::read::{Percentages, ReadError, cluster_file, csv, files, percentages};
use proptest::prelude::*;

fn told<T>(read: Result<T, ReadError>) {
    if let Err(error) = read {
        assert!(!error.problem.is_empty() && !error.cure.is_empty(), "{error:?}");
    }
}

/// Lines that are nearly right.
fn lines() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        Just(String::new()),
        "[a-z]{1,4}",
        "-?[0-9]{1,12}",
        "[0-9]{1,3}\\.[0-9]{1,3}",
        Just("NaN".to_owned()),
        Just("1e308".to_owned()),
        any::<String>(),
    ];
    let line = prop::collection::vec(field, 0..6).prop_map(|fields| fields.join(","));
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn invariant_no_text_makes_a_reader_panic(text in any::<String>(), near in lines()) {
        for text in [&text, &near] {
            told(csv("f", text));
            told(csv("f", &format!("time_s,guest,cpu_cores\n{text}")));
            told(csv("f", &format!("time_s,guest,cpu_cores,memory_mib\n{text}")));
            told(percentages("d", [("a", text.as_str())]));
            told(cluster_file("f", text).and_then(|file| file.cluster("f", [].iter())));
        }
    }

    #[test]
    fn invariant_a_good_trace_is_read_as_it_was_written(
        steps in prop::collection::vec((0u32..3, 1u32..1000, 0.0..64.0f64), 1..50),
    ) {
        let mut text = "time_s,guest,cpu_cores\n".to_owned();
        let mut now = 0;
        for (guest, later, cores) in &steps {
            now += later;
            text.push_str(&format!("{now},vm{guest},{cores}\n"));
        }
        let trace = csv("f", &text).unwrap();
        prop_assert_eq!(trace.len(), steps.len());
        let sum: f64 = steps.iter().map(|(_, _, cores)| cores).sum();
        let read: f64 =
            trace.guests().flat_map(|name| trace.steps(name)).map(|step| step.cores).sum();
        prop_assert!((sum - read).abs() < 1e-6);
    }
}

#[test]
fn folders_are_planetlab_and_files_are_csv() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("vm_b"), "1\n2\n").unwrap();
    std::fs::write(dir.path().join("vm_a"), "3\n4\n").unwrap();
    std::fs::write(dir.path().join(".hidden"), "no\n").unwrap();
    std::fs::create_dir(dir.path().join("20110303")).unwrap();
    let files::Traced::Percent(read) = files::trace(dir.path()).unwrap() else { panic!("CSV?") };
    assert_eq!(Percentages::guests(&read).collect::<Vec<_>>(), ["vm_a", "vm_b"]);
    let file = dir.path().join("t.csv");
    std::fs::write(&file, "time_s,guest,cpu_cores\n0,a,1\n").unwrap();
    assert!(matches!(files::trace(&file).unwrap(), files::Traced::Cores(_)));
    let error = files::trace(&dir.path().join("20110303")).unwrap_err();
    assert!(error.cure.contains("one day"), "{error:?}");
    assert!(files::trace(Path::new("/nowhere")).is_err());
    std::fs::write(&file, [0xff, 0xfe, 0x00]).unwrap();
    assert!(files::trace(&file).is_err());
}
