use super::*;

fn parse(words: &[&str]) -> Result<Args, Failure> {
    Args::from(lexopt::Parser::from_args(words))
}

fn configured(words: &[&str]) -> Configure {
    let words = [&["configure"], words, &["/c"]].concat();
    match parse(&words).unwrap().command {
        Command::Configure(configure) => configure,
        other => panic!("{words:?}: {other:?}"),
    }
}

fn listed(words: &[&str]) -> List {
    let words = [&["list"], words].concat();
    match parse(&words).unwrap().command {
        Command::List(list) => list,
        other => panic!("{words:?}: {other:?}"),
    }
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

#[test]
fn global_options_come_before_the_command_in_every_spelling() {
    for words in [
        &[
            "--debug=/log",
            "--root=/r",
            "--ldcache=/c",
            "--load-kmods",
            "info",
        ][..],
        &[
            "--debug",
            "/log",
            "--root",
            "/r",
            "--ldcache",
            "/c",
            "--load-kmods",
            "info",
        ],
        &["-d/log", "-r", "/r", "-l/c", "-k", "info"],
        &["-kd/log", "-r/r", "-l", "/c", "info"],
        // glibc takes the beginning of a long name that fits one option.
        &["--de=/log", "--roo=/r", "--ldc=/c", "--load", "info"],
    ] {
        let global = parse(words).unwrap().global;
        assert_eq!(global.debug, Some("/log".into()), "{words:?}");
        assert_eq!(global.root, Some("/r".into()), "{words:?}");
        assert_eq!(global.ldcache, Some("/c".into()), "{words:?}");
        assert!(global.load_kmods, "{words:?}");
        assert!(global.notes.is_empty(), "{words:?}");
    }
    let global = parse(&["info"]).unwrap().global;
    assert_eq!(
        (global.debug, global.root, global.load_kmods),
        (None, None, false)
    );
    assert_eq!(global.host_root, PathBuf::from("/"));
}

/// The value of --user is part of the same word: what follows is the command.
#[test]
fn options_without_an_effect_are_noted() {
    for word in [
        "--user",
        "-u",
        "--user=0",
        "-u0",
        "--user=1000:1000",
        "--user=root:video",
    ] {
        let args = parse(&[word, "info"]).unwrap();
        assert!(args.global.notes[0].starts_with("--user: "), "{word}");
        assert!(
            matches!(args.command, Command::Info { csv: false }),
            "{word}"
        );
    }
    let args = parse(&["-nu", "--no-create-imex-channels", "info", "--csv"]).unwrap();
    assert_eq!(args.global.notes.len(), 3);
    assert!(matches!(args.command, Command::Info { csv: true }));
}

#[test]
fn each_option_of_configure_sets_what_it_says() {
    use Capability::{Compat32, Compute, Display, Graphics, Ngx, Utility, Video};
    let with = |change: fn(&mut Configure)| {
        let mut configure = Configure {
            rootfs: "/c".into(),
            ..Configure::default()
        };
        change(&mut configure);
        configure
    };
    let rows: &[(&[&str], Configure)] = &[
        (&[], with(|_| {})),
        (&["--pid=7"], with(|c| c.pid = Some(7))),
        (&["-p", "7"], with(|c| c.pid = Some(7))),
        (
            &["--device=0,1", "-dGPU-1,"],
            with(|c| c.devices = strings(&["0", "1", "GPU-1"])),
        ),
        (&["--device="], with(|_| {})),
        (
            &["--require=cuda>=9.0 x", "-rbrand=Tesla"],
            with(|c| {
                c.require = strings(&["cuda>=9.0 x", "brand=Tesla"]);
            }),
        ),
        (
            &["-cuvgDn", "--compat32"],
            with(|c| c.capabilities = CapabilitySet::all()),
        ),
        (&["--compute"], with(|c| c.capabilities.insert(Compute))),
        (&["--utility"], with(|c| c.capabilities.insert(Utility))),
        (&["--video"], with(|c| c.capabilities.insert(Video))),
        (&["--graphics"], with(|c| c.capabilities.insert(Graphics))),
        (&["--display"], with(|c| c.capabilities.insert(Display))),
        (&["--ngx"], with(|c| c.capabilities.insert(Ngx))),
        (&["--compat32"], with(|c| c.capabilities.insert(Compat32))),
        (
            &["--mig-config=all"],
            with(|c| c.mig.config = strings(&["all"])),
        ),
        (
            &["--mig-monitor", "0,1"],
            with(|c| c.mig.monitor = strings(&["0", "1"])),
        ),
        (
            &["--imex-channel=0,2", "--imex-channel", "5"],
            with(|c| c.imex = strings(&["0", "2", "5"])),
        ),
        (&["--no-cgroups"], with(|c| c.no_cgroups = true)),
        (&["--no-devbind"], with(|c| c.no_devbind = true)),
        (
            &["--no-persistenced"],
            with(|c| c.without.persistenced = true),
        ),
        (
            &["--no-fabricmanager"],
            with(|c| c.without.fabricmanager = true),
        ),
        (
            &["--no-gsp-firmware"],
            with(|c| c.without.gsp_firmware = true),
        ),
        (
            &["--cuda-compat-mode=disabled"],
            with(|c| c.no_cuda_compat = true),
        ),
        (&["--no-cntlibs"], with(|c| c.no_cuda_compat = true)),
        (&["--cuda-compat-mode=ldconfig"], with(|_| {})),
    ];
    for (words, expected) in rows {
        assert_eq!(&configured(words), expected, "{words:?}");
    }
    // The operand may come before options, and after "--".
    for words in [
        &["configure", "/c", "--pid=7"][..],
        &["configure", "--pid=7", "--", "/c"],
    ] {
        let Command::Configure(configure) = parse(words).unwrap().command else {
            panic!("{words:?}");
        };
        assert_eq!(
            (configure.pid, configure.rootfs),
            (Some(7), "/c".into()),
            "{words:?}"
        );
    }
}

#[test]
fn what_configure_does_not_do_is_noted() {
    for (words, note) in [
        (
            &["--ldconfig=@/sbin/ldconfig"][..],
            "--ldconfig=@/sbin/ldconfig: no ldconfig is run",
        ),
        (
            &["-l/sbin/ldconfig"],
            "--ldconfig=/sbin/ldconfig: no ldconfig is run",
        ),
        (&["--cuda-compat-mode=mount"], "--cuda-compat-mode=mount: "),
    ] {
        let notes = configured(words).notes;
        assert!(
            notes.len() == 1 && notes[0].starts_with(note),
            "{words:?}: {notes:?}"
        );
    }
    // "disabled" wins over another mode.
    assert!(
        configured(&["--cuda-compat-mode=mount", "--no-cntlibs"])
            .notes
            .is_empty()
    );
    assert!(
        configured(&["--no-cntlibs", "--cuda-compat-mode=mount"])
            .notes
            .is_empty()
    );
}

#[test]
fn list_without_options_lists_everything() {
    let all = List {
        devices: Some(strings(&["all"])),
        libraries: true,
        binaries: true,
        ipcs: true,
        firmwares: true,
        compat32: true,
        ..List::default()
    };
    assert_eq!(listed(&[]), all);
    let imex = List {
        imex: strings(&["3"]),
        ..all
    };
    assert_eq!(listed(&["--imex-channel=3"]), imex);
    let rows: &[(&[&str], List)] = &[
        (
            &["-l"],
            List {
                libraries: true,
                ..List::default()
            },
        ),
        (
            &["-bif"],
            List {
                binaries: true,
                ipcs: true,
                firmwares: true,
                ..List::default()
            },
        ),
        (
            &["-d0", "--device=1,2"],
            List {
                devices: Some(strings(&["0", "1", "2"])),
                ..List::default()
            },
        ),
        (
            &["--device="],
            List {
                devices: Some(Vec::new()),
                ..List::default()
            },
        ),
        (
            &["--compat32"],
            List {
                compat32: true,
                ..List::default()
            },
        ),
        (
            &["--no-gsp-firmware"],
            List {
                without: Without {
                    gsp_firmware: true,
                    ..Without::default()
                },
                ..List::default()
            },
        ),
    ];
    for (words, expected) in rows {
        assert_eq!(&listed(words), expected, "{words:?}");
    }
}

#[test]
fn wrong_command_lines_are_input_errors_that_name_the_word() {
    let many = vec!["--require=cuda>=1"; REQUIRE_LIMIT + 1];
    let many = [&["configure"], &many[..], &["/c"]].concat();
    let rows: &[(&[&str], &str)] = &[
        (&[], "no command was given"),
        (&["--debug"], "option '--debug' requires an argument"),
        (&["lst"], "'lst' is no command"),
        (&["--frob", "info"], "unrecognized option '--frob'"),
        (&["-x", "info"], "invalid option -- 'x'"),
        (&["--load-kmods=1", "info"], "--load-kmods"),
        (
            &["--no=1", "info"],
            "ambiguous: --no-pivot, --no-create-imex-channels",
        ),
        (&["--root=r", "info"], "'r' is not an absolute path"),
        (
            &["--user=a:b:c", "info"],
            "parse user/group failed: 'a:b:c'",
        ),
        (&["--user=:1", "info"], "parse user/group failed: ':1'"),
        (&["info", "more"], "unexpected argument 'more'"),
        (&["info", "--device=0"], "unrecognized option '--device'"),
        (&["list", "more"], "unexpected argument 'more'"),
        (&["configure"], "no ROOTFS was given"),
        (&["configure", "/c", "/d"], "unexpected argument '/d'"),
        (&["configure", "c"], "invalid rootfs directory: 'c'"),
        (&["configure", "/"], "invalid rootfs directory: '/'"),
        (&["configure", "/./"], "invalid rootfs directory: '/./'"),
        (&["configure", ""], "invalid rootfs directory: ''"),
        (&["configure", "--pid=0", "/c"], "parse pid failed: '0'"),
        (&["configure", "--pid=+7", "/c"], "parse pid failed: '+7'"),
        (&["configure", "--pid=x", "/c"], "parse pid failed: 'x'"),
        (
            &["configure", "--debug=/l", "/c"],
            "unrecognized option '--debug'",
        ),
        (
            &["configure", "--cuda-compat-mode=hook", "/c"],
            "'hook' is none of",
        ),
        (
            &[
                "configure",
                "--cuda-compat-mode=mount",
                "--cuda-compat-mode=ldconfig",
                "/c",
            ],
            "only one cuda-compat-mode can be specified at a time",
        ),
        (&many, "too many requirements"),
    ];
    for (words, named) in rows {
        let failure = parse(words).unwrap_err();
        let text = failure.to_string();
        assert!(text.contains(named), "{words:?}: {text}");
        assert!(text.starts_with("input error: "), "{words:?}: {text}");
        assert!(text.ends_with(" [OG0100]"), "{words:?}: {text}");
    }
    assert_eq!(
        configured(&vec!["--require=x"; REQUIRE_LIMIT])
            .require
            .len(),
        REQUIRE_LIMIT
    );
}

#[test]
fn help_and_versions_are_printed_wherever_they_are_asked_for() {
    for words in [
        &["--help"][..],
        &["-?"],
        &["--usage"],
        &["configure", "--help"],
        &["list", "-?"],
    ] {
        let Command::Print(text) = parse(words).unwrap().command else {
            panic!("{words:?}");
        };
        assert!(
            text.starts_with("Usage: nvidia-container-cli "),
            "{words:?}: {text}"
        );
        assert!(!text.contains("host-root"), "{words:?}");
    }
    for words in [
        &["--version"][..],
        &["-V"],
        &["-kV"],
        &["info", "--version"],
    ] {
        let Command::Print(text) = parse(words).unwrap().command else {
            panic!("{words:?}");
        };
        assert!(text.starts_with("cli-version: 1."), "{words:?}: {text}");
    }
}
