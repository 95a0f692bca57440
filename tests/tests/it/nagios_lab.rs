//! A Nagios 4 of Debian's for tests, and what its status.dat says.

use std::path::Path;

/// A Nagios of its own, with one contact who is told by nothing.
pub fn nagios(dir: &Path, objects: &Path) -> String {
    let path = |name: &str| dir.join(name).display().to_string();
    for sub in ["results", "archives"] {
        std::fs::create_dir_all(dir.join(sub)).expect("a folder");
    }
    let contacts = "define command {\n command_name none\n command_line /bin/true\n}\n\
        define timeperiod {\n timeperiod_name always\n alias always\n \
        monday 00:00-24:00\n tuesday 00:00-24:00\n wednesday 00:00-24:00\n \
        thursday 00:00-24:00\n friday 00:00-24:00\n saturday 00:00-24:00\n \
        sunday 00:00-24:00\n}\n\
        define contact {\n contact_name ops\n host_notification_commands none\n \
        service_notification_commands none\n host_notification_options d,u,r\n \
        service_notification_options w,u,c,r\n host_notification_period always\n \
        service_notification_period always\n}\n\
        define contactgroup {\n contactgroup_name ops\n alias ops\n members ops\n}\n";
    std::fs::write(dir.join("contacts.cfg"), contacts).expect("writes");
    let text = format!(
        "cfg_file={}\ncfg_file={}\nlog_file={}\nobject_cache_file={}\nstatus_file={}\n\
         status_update_interval=1\nlock_file={}\ntemp_file={}\ntemp_path={}\n\
         check_result_path={}\nlog_archive_path={}\nstate_retention_file={}\n\
         command_file={}\nquery_socket={}\nnagios_user=root\nnagios_group=root\nuse_syslog=0\n\
         interval_length=1\ncheck_external_commands=1\ncheck_result_reaper_frequency=1\n\
         check_service_freshness=1\nservice_freshness_check_interval=1\n\
         additional_freshness_latency=0\nenable_notifications=1\n\
         illegal_object_name_chars=`~!$%^&*|'\"<>?,()=\nillegal_macro_output_chars=`~$&|'\"<>\n",
        path("contacts.cfg"),
        objects.display(),
        path("nagios.log"),
        path("objects.cache"),
        path("status.dat"),
        path("nagios.lock"),
        path("nagios.tmp"),
        path(""),
        path("results"),
        path("archives"),
        path("retention.dat"),
        path("nagios.cmd"),
        path("nagios.qh"),
    );
    let file = dir.join("nagios.cfg");
    std::fs::write(&file, text).expect("writes");
    file.display().to_string()
}

/// What status.dat says of a host or a service.
#[derive(Debug)]
pub struct Status {
    pub state: String,
    /// 1: hard.
    pub kind: String,
    pub text: String,
    pub perf: String,
}

/// `None`: it was not checked yet.
pub fn status(dir: &Path, host: &str, service: Option<&str>) -> Option<Status> {
    let text = std::fs::read_to_string(dir.join("status.dat")).ok()?;
    let kind = if service.is_some() { "servicestatus {" } else { "hoststatus {" };
    for block in text.split(kind).skip(1) {
        // Values may hold a brace: a block ends at one that stands alone.
        let block = block.split("\n\t}").next()?;
        let get = |key: &str| {
            let line = block.lines().find_map(|l| l.trim().strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().to_owned()
        };
        let is_it = service.is_none_or(|s| get("service_description") == s);
        if is_it && get("host_name") == host && get("has_been_checked") == "1" {
            return Some(Status {
                state: get("current_state"),
                kind: get("state_type"),
                text: get("plugin_output"),
                perf: get("performance_data"),
            });
        }
    }
    None
}
