//! A plugin that hangs: its service is UNKNOWN while its node reports, whatever becomes of
//! the collector meanwhile, and well again when it says something.

use crate::support::{Site, executable, wait_for};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const PLUGIN: &str = "#!/bin/sh
if [ \"$1\" = config ]; then
  echo 'graph_title Level'; echo level.label level; echo level.critical 90; exit
fi
while [ -e HANGS ]; do sleep 0.2; done
echo level.value 5
";

#[test]
fn a_service_of_which_nothing_comes_is_unknown() {
    let site = Site::new();
    let (hangs, told) = (site.path("hangs"), site.path("told"));
    let text = PLUGIN.replace("HANGS", &hangs.display().to_string());
    executable(&site.path("plugins/level"), &text);
    let config = format!(
        "[[contact]]\nname = \"filed\"\nfile = {told:?}\n\
         [alerting]\ngroup_window_ms = 0\nstart_grace_ms = 1000\nfresh_after_ms = 5000\n"
    );
    let collector = site.collector(&config);
    // Whatever is wrong with the machine that this runs on.
    let lines = || -> Vec<String> {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        text.lines().filter(|l| l.contains("/level")).map(str::to_owned).collect()
    };
    let agent = site.agent("n1", "step = \"1s\"\nplugin_step = \"1s\"\n");
    let wait_state = |want: &str| {
        wait_for(&format!("a level that is {want}"), LIMIT, || {
            let services = site.services("n1");
            let level = services.iter().find(|s| s["service"] == "level")?;
            (level["state"] == want && level["hard"] == true).then_some(())
        });
    };
    wait_state("OK");
    std::fs::write(&hangs, "").expect("writes");
    std::thread::sleep(Duration::from_secs(2));
    collector.kill9();
    let collector = site.collector(&config);
    wait_state("UNKNOWN");
    let page = wait_for("the message", LIMIT, || lines().pop());
    assert!(page.contains("UNKNOWN n1/level: nothing came for more than 5 s"), "{page}");
    std::fs::remove_file(&hangs).expect("removes");
    wait_state("OK");
    wait_for("the recovery", LIMIT, || (lines().len() == 2).then_some(()));
    assert!(lines()[1].contains("OK n1/level"), "{:#?}", lines());
    agent.stop();
    collector.stop();
}
