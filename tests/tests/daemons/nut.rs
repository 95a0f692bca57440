//! Network UPS Tools: the real upsd over its driver for made-up UPSes.

use crate::lab::Lab;
use crate::support::{Proc, free_port, wait_for};
use std::process::Command;

#[test]
fn a_power_cut_is_seen() {
    let mut lab = Lab::new();
    let port = free_port();
    let (conf, state) = (lab.site.path("nut"), lab.site.path("nut-state"));
    for dir in [&conf, &state] {
        std::fs::create_dir(dir).expect("a folder");
    }
    let write = |name: &str, text: &str| std::fs::write(conf.join(name), text).expect("writes");
    let ups = |status: &str, charge: u32| {
        format!("ups.status: {status}\nbattery.charge: {charge}\nups.load: 12\nTIMER 1\n")
    };
    write("rack.dev", &ups("OL", 100));
    write("ups.conf", "[rack]\ndriver = dummy-ups\nport = rack.dev\nmode = dummy-loop\n");
    write("upsd.conf", &format!("LISTEN 127.0.0.1 {port}\n"));
    write("upsd.users", "");
    let with = |program: &str| {
        let mut command = Command::new(program);
        command.env("NUT_CONFPATH", &conf).env("NUT_STATEPATH", &state);
        command.env("NUT_ALTPIDPATH", &state);
        command
    };
    let mut driver =
        Proc::start(with("/lib/nut/dummy-ups").args(["-a", "rack", "-u", "root", "-F"]));
    wait_for("the driver", crate::lab::LIMIT, || {
        assert!(!driver.is_gone(), "{}", driver.said());
        state.join("dummy-ups-rack").exists().then_some(())
    });
    lab.daemon(with("/lib/nut/upsd").args(["-u", "root", "-F"]), port);
    lab.watch(&format!("[probe.nut]\naddress = \"127.0.0.1:{port}\"\n"));
    lab.until("ups_charge", "ups_rack", |v| v == 100.0);
    assert_eq!(lab.newest("ups_on_battery", "ups_rack"), 0.0);
    write("rack.dev", &ups("OB LB", 15));
    lab.until("ups_on_battery", "ups_rack", |v| v == 1.0);
    lab.until("ups_low_battery", "ups_rack", |v| v == 1.0);
    lab.until("ups_charge", "ups_rack", |v| v == 15.0);
    crate::support::wait_for("the problem", crate::lab::LIMIT, || {
        let services = lab.site.services("host");
        services
            .iter()
            .any(|s| s["service"] == "ups_charge" && s["state"] == "CRITICAL")
            .then_some(())
    });
}
