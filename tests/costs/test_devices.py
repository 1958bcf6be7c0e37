"""Hardware profiles, measured layers, and sizes with units."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch import facts_of
from mpsearch.config import Config
from mpsearch.costs.latency import RooflineLatency, TableLatency
from mpsearch.costs.measured import read_table
from mpsearch.costs.profile import Profile, load_profile, profile_names
from mpsearch.costs.sizes import parse_size, shown_size
from mpsearch.errors import ConfigError, DataMissingError
from tests.costs.nets import config, two_layers

FACTS = two_layers()


def test_shipped_profiles_are_what_the_devices_have():
    assert profile_names() == ["generic-mcu", "litert", "stm32h7b3", "stm32l4r9"]
    h7, l4, generic = (load_profile(name) for name in ("stm32h7b3", "stm32l4r9", "generic-mcu"))
    assert (l4.ram, l4.flash, l4.clock_mhz) == (640 * 1024, 2 * 1024**2, 120)
    assert (h7.ram, h7.flash, h7.clock_mhz) == (1380 * 1024, 2 * 1024**2, 280)
    assert (generic.ram, generic.flash, generic.clock_mhz) == (500 * 1024, 2 * 1024**2, None)
    assert h7.pairs == l4.pairs == ((4, 8), (8, 8), (8, 16))


def test_the_speed_of_a_profile_is_the_published_time():
    keras = pytest.importorskip("keras")
    facts = facts_of(keras.applications.MobileNetV2((224, 224, 3), alpha=0.5, classes=10, weights=None))
    for name, published_ms in (("stm32l4r9", 2619), ("stm32h7b3", 379)):
        cost = RooflineLatency(facts, load_profile(name))
        assert cost(Config({})) / 1000 == pytest.approx(published_ms, rel=0.002)


def test_a_roofline_is_arithmetic_or_memory_whichever_is_longer():
    fast = Profile("fast", clock_mhz=1.0, macs_per_cycle=2.0)
    assert RooflineLatency(FACTS, fast)(config(FACTS)) == 24 / 2 + 12 / 2
    # 6 + 4 feature bytes, 24 of kernel and 4 of biases; 4 + 3 and 12; 3 + 12
    slow_memory = Profile("slow", clock_mhz=2.0, macs_per_cycle=2.0, bytes_per_cycle=1.0, cycles_per_operation=5.0)
    assert RooflineLatency(FACTS, slow_memory)(config(FACTS)) == (38 + 19 + 15 + 15) / 2
    assert RooflineLatency(FACTS, slow_memory)(config(FACTS, a__kernel=4)) == (26 + 19 + 15 + 15) / 2


TABLE = """layer,input,output,kernel_bits,input_bits,us
Dense,6,4,8,8,10.5
Dense,6,4,4,8,7
b,*,*,*,8,3
softmax,*,*,*,*,1
"""


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "measured.csv"
    path.write_text(TABLE)
    return path


def test_measured_layers_are_looked_up_by_shape_and_widths(table):
    cost = TableLatency(FACTS, read_table(table))
    assert cost(config(FACTS)) == 14.5
    assert cost(config(FACTS, a__kernel=4)) == 11.0
    assert cost(config(FACTS, b__kernel=2)) == 14.5
    with pytest.raises(ConfigError, match=r"no row for `a` \(Dense\) with a kernel of 5 and an input of 8 bits"):
        cost(config(FACTS, a__kernel=5))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TABLE.replace("softmax,*,*,*,*,1\n", ""), r"no row for 1 of 3 operations, first of all `softmax`"),
        ("layer,us\na,1\n", "a CSV file with the columns layer, input, output"),
        ("", "a CSV file with the columns"),
        (TABLE.replace("10.5", "fast"), "line 2: widths and `us` must be numbers"),
        (TABLE.replace("10.5", "-1"), "line 2: `us` must be at least 0, but is -1"),
        (TABLE.replace(",4,8,7", ",four,8,7"), "line 3: widths and `us` must be numbers"),
    ],
)
def test_tables_that_are_none_are_refused(table, text, message):
    table.write_text(text)
    with pytest.raises(ConfigError, match=message):
        TableLatency(FACTS, read_table(table))


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="can't be read"):
        read_table(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ram = '640 XB'", "`mine.toml: ram` must be a number of bytes"),
        ("rom = 5", "a profile has no `rom`; did you mean `ram`"),
        ("clock_mhz = -1", "`clock_mhz` must be a positive number"),
        ("pairs = [[8, 99]]", r"as in \[\[8, 8\]\], but has \[8, 99\]"),
        ("packed = 'yes'", "`packed` must be true or false"),
        ("widths = 8", "`widths` must be a table of kernel, depthwise_kernel, bias, feature_map, unsigned_feature_map"),
        ("[widths]\nkernels = [2, 8]", "`widths` must be a table of kernel, "),
        ("[widths]\nkernel = [8, 2]", r"`widths.kernel` must be the least and the largest width, as in \[2, 8\]"),
        ("ram = ", "isn't a TOML file"),
    ],
)
def test_profiles_that_are_none_are_refused(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_profile(str(path))


def test_a_profile_that_there_is_not_is_named():
    with pytest.raises(DataMissingError, match=r"no hardware profile 'stm32h7'; did you mean stm32h7b3\?"):
        load_profile("stm32h7")


def test_a_profile_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("ram = '64KB'\nclock_mhz = 80\nmacs_per_cycle = 1\nweights = 'fixed'\n")
    assert load_profile(str(path)) == Profile("mine", 65536.0, clock_mhz=80, macs_per_cycle=1, weights="fixed")


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("300KB", "bytes", 307200),
        ("2 MB", "bytes", 2 * 1024**2),
        ("512", "bytes", 512),
        ("1.5kb", "bytes", 1536),
        ("100ms", "µs", 1e5),
        ("2s", "µs", 2e6),
        ("80us", "µs", 80),
        ("5uJ", "pJ", 5e6),
        ("1.5M", "MACs", 1.5e6),
        ("1_000", "bits", 1000),
        ("32", "bits", 32),
    ],
)
def test_sizes_are_read_as_people_write_them(text, unit, value):
    assert parse_size(text, unit) == value


@pytest.mark.parametrize(
    ("text", "unit"), [("two", "bytes"), ("3 km", "bytes"), ("", "µs"), ("5KB", "µs"), ("1 2", "MACs")]
)
def test_sizes_that_are_none_are_refused(text, unit):
    with pytest.raises(ConfigError, match=f"`flash` must be a number of {unit}"):
        parse_size(text, unit, "flash")


@given(st.floats(1, 1e12), st.sampled_from(["bytes", "µs", "pJ"]))
def test_shown_sizes_are_read_back(value, unit):
    shown = shown_size(value, unit).replace(",", "")
    assert parse_size(shown, unit) == pytest.approx(value, rel=0.06)
