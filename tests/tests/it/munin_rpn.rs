//! What `cdef` expressions give, beside rrdtool.

use crate::support::stdout;
use rookery_plugins::rpn::Rpn;
use std::process::Command;

/// `a` is 6; numbers, unknown and infinite ones with every operator.
const EXPRESSIONS: &[&str] = &[
    "a,8,*",
    "a,4,-",
    "a,4,%",
    "-7,3,%",
    "a,0,/",
    "a,UNKN,+",
    "UNKN,UN",
    "a,UN",
    "INF,ISINF",
    "a,ISINF",
    "a,4,GT",
    "a,6,GE",
    "a,6,LT",
    "a,6,LE",
    "a,6,EQ",
    "a,6,NE",
    "UNKN,1,GT",
    "1,UNKN,EQ",
    "a,4,MIN",
    "a,4,MAX",
    "UNKN,4,MIN",
    "4,UNKN,MAX",
    "UNKN,4,MINNAN",
    "4,UNKN,MAXNAN",
    "UNKN,4,ADDNAN",
    "UNKN,UNKN,ADDNAN",
    "2,a,POW",
    "1,2,ATAN2",
    "-2.5,ABS",
    "-2.5,FLOOR",
    "-2.5,CEIL",
    "16,SQRT",
    "a,LOG",
    "1,EXP",
    "1,SIN",
    "1,COS",
    "1,ATAN",
    "180,DEG2RAD",
    "1,RAD2DEG",
    "1,2,3,IF",
    "0,2,3,IF",
    "UNKN,2,3,IF",
    "a,0,5,LIMIT",
    "a,0,10,LIMIT",
    "UNKN,0,10,LIMIT",
    "a,DUP,*",
    "a,4,EXC,-",
    "a,4,POP",
    "a,4,5,3,AVG",
    "a,UNKN,4,3,AVG",
    "a,4,9,3,MEDIAN",
    "a,UNKN,4,3,MEDIAN",
    "a,4,9,1,4,MEDIAN",
    "a,4,9,3,SMIN",
    "a,4,9,3,SMAX",
    "a,4,9,3,STDEV",
    "a,4,9,3,SORT,POP,POP",
    "9,4,a,3,SORT,-,-",
    "a,4,9,3,REV,-,-",
    "a,1e3,/",
];

#[test]
fn expressions_give_what_rrdtool_gives() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("a.rrd");
    let mut create = Command::new("rrdtool");
    create.arg("create").arg(&file).args(["--start", "1790000000", "--step", "300"]);
    stdout(create.args(["DS:a:GAUGE:600:U:U", "RRA:AVERAGE:0.5:1:10"]));
    let mut update = Command::new("rrdtool");
    stdout(update.arg("update").arg(&file).args(["1790000100:6", "1790000400:6", "1790000700:6"]));
    let mut export = Command::new("rrdtool");
    export.args(["xport", "--start", "1790000400", "--end", "1790000401", "--step", "300"]);
    export.arg(format!("DEF:a={}:a:AVERAGE", file.display()));
    for (i, expression) in EXPRESSIONS.iter().enumerate() {
        // rrdtool wants something that has a time in each.
        export.arg(format!("CDEF:x{i}=a,POP,{expression}")).arg(format!("XPORT:x{i}"));
    }
    let text = stdout(&mut export);
    let (_, row) = text.split_once("<row>").unwrap_or_else(|| panic!("{text}"));
    let (row, _) = row.split_once("</row>").expect("a row");
    let values: Vec<f64> = row
        .split("<v>")
        .skip(1)
        .filter_map(|v| v.split_once("</v>")?.0.trim().parse().ok())
        .collect();
    assert_eq!(values.len(), EXPRESSIONS.len(), "{row}");
    for (expression, theirs) in EXPRESSIONS.iter().zip(values) {
        let rpn = Rpn::parse(expression, |name| (name == "a").then_some(0)).expect(expression);
        let ours = rpn.eval(&mut Vec::new(), |_| Some(6.0)).unwrap_or(f64::NAN);
        let is_same = ours == theirs
            || ours.is_nan() && !theirs.is_finite()
            // rrdtool prints ten digits, and has a short pi.
            || (ours - theirs).abs() <= 1e-6 * theirs.abs();
        assert!(is_same, "{expression}: {ours}, rrdtool: {theirs}");
    }
}
