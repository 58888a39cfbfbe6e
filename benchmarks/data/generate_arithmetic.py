"""Write the bundled arithmetic word problems, ``pajamas_arithmetic``.

Run from anywhere::

    python benchmarks/data/generate_arithmetic.py

It rewrites ``pajamas_arithmetic/test.jsonl`` and ``pajamas_arithmetic/train.jsonl`` next to this
file.  The same seed always gives the same bytes, on every supported Python version.

The files have GSM8K's form.  An answer shows one step a line, each with a calculator annotation
``<<expression=value>>value``, and ends with a line ``#### value``.

To add a kind of problem, write a function that takes a ``Draw`` and returns a ``Problem``, and
mark it with ``@template``.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

SEED = 20240607
TEST_COUNT = 200
TRAIN_COUNT = 20
MAX_QUESTION_CHARS = 219
MAX_ANSWER_CHARS = 159
OUTPUT_DIR = Path(__file__).resolve().parent / "pajamas_arithmetic"

NAMES = (
    "Amara",
    "Ben",
    "Carla",
    "Diego",
    "Elena",
    "Farid",
    "Grace",
    "Hiro",
    "Ines",
    "Jonas",
    "Kemi",
    "Liam",
    "Maya",
    "Noah",
    "Olga",
    "Pedro",
    "Quinn",
    "Rosa",
    "Sam",
    "Tara",
    "Uma",
    "Victor",
    "Wendy",
    "Yusuf",
    "Zoe",
)

T = TypeVar("T")


class Draw:
    """Draws values from a seeded generator.

    Only ``random.Random.random`` is used: it is the one method whose sequence Python promises to
    keep for a given seed.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def number(self, low: int, high: int) -> int:
        """Return a whole number from ``low`` to ``high``, both included."""
        if low > high:
            raise ValueError(f"empty range {low}..{high}")
        return low + int(self._rng.random() * (high - low + 1))

    def one(self, items: Sequence[T]) -> T:
        """Return one of the items."""
        return items[self.number(0, len(items) - 1)]

    def several(self, items: Sequence[T], count: int) -> list[T]:
        """Return ``count`` different items in random order."""
        left = list(items)
        return [left.pop(self.number(0, len(left) - 1)) for _ in range(count)]

    def name(self) -> str:
        """Return a person's name."""
        return self.one(NAMES)

    def names(self, count: int) -> list[str]:
        """Return the names of ``count`` different people."""
        return self.several(NAMES, count)


@dataclass(frozen=True)
class Step:
    """One calculation and the sentence that tells it; ``{}`` marks the place of the result."""

    sentence: str
    left: int
    operator: str
    right: int

    @property
    def value(self) -> int:
        """The result, which must be a whole number that is not negative."""
        if self.operator == "+":
            result = self.left + self.right
        elif self.operator == "-":
            result = self.left - self.right
        elif self.operator == "*":
            result = self.left * self.right
        elif self.operator == "/":
            result, remainder = divmod(self.left, self.right)
            if remainder:
                raise ValueError(f"{self.left}/{self.right} is not a whole number")
        else:
            raise ValueError(f"unknown operator {self.operator!r}")
        if result < 0:
            raise ValueError(f"{self.left}{self.operator}{self.right} is negative")
        return result

    def render(self) -> str:
        """Return the sentence with its calculator annotation."""
        value = self.value
        note = f"<<{self.left}{self.operator}{self.right}={value}>>{value}"
        return self.sentence.format(note)


@dataclass(frozen=True)
class Problem:
    """A question and the steps that answer it; the last step gives the final answer."""

    question: str
    steps: tuple[Step, ...]

    def record(self) -> dict[str, str]:
        """Return the problem as one GSM8K record."""
        lines = [step.render() for step in self.steps]
        answer = "\n".join([*lines, f"#### {self.steps[-1].value}"])
        if len(self.question) > MAX_QUESTION_CHARS:
            raise ValueError(f"question too long: {self.question}")
        if len(answer) > MAX_ANSWER_CHARS:
            raise ValueError(f"answer too long: {answer}")
        return {"question": self.question, "answer": answer}


Template = Callable[[Draw], Problem]
TEMPLATES: list[Template] = []


def template(function: Template) -> Template:
    """Register a kind of problem."""
    TEMPLATES.append(function)
    return function


@template
def fruit_given_away(draw: Draw) -> Problem:
    """Multiply bags by their size, then subtract."""
    name = draw.name()
    fruit = draw.one(("apples", "oranges", "plums", "lemons", "peaches"))
    bags, each = draw.number(3, 8), draw.number(4, 9)
    given = draw.number(3, bags * each - 4)
    bought = Step(f"The bags hold {{}} {fruit}.", bags, "*", each)
    left = Step(f"{name} has {{}} {fruit} left.", bought.value, "-", given)
    return Problem(
        f"{name} buys {bags} bags of {fruit}. Each bag holds {each} {fruit}. {name} gives "
        f"{given} {fruit} to the neighbors. How many {fruit} does {name} have left?",
        (bought, left),
    )


@template
def change_from_a_note(draw: Draw) -> Problem:
    """Multiply count by price, then subtract from the bill."""
    name = draw.name()
    item = draw.one(("notebooks", "paintbrushes", "sandwiches", "candles", "mugs"))
    count, price = draw.number(2, 6), draw.number(2, 8)
    total = Step("The cost is {} dollars.", count, "*", price)
    note = 20 if total.value < 20 else 50
    change = Step("The change is {} dollars.", note, "-", total.value)
    return Problem(
        f"{name} buys {count} {item} that cost {price} dollars each and pays with one "
        f"{note}-dollar bill. How many dollars of change does {name} get?",
        (total, change),
    )


@template
def pages_left(draw: Draw) -> Problem:
    """Multiply pages by days, then subtract from the length of the book."""
    name = draw.name()
    pages, days = draw.number(6, 20), draw.number(3, 7)
    book = pages * days + draw.number(15, 90)
    read = Step(f"{name} has read {{}} pages.", pages, "*", days)
    left = Step("There are {} pages left.", book, "-", read.value)
    return Problem(
        f"{name} is reading a book of {book} pages and reads {pages} pages every day. How many "
        f"pages are left to read after {days} days?",
        (read, left),
    )


@template
def baked_goods_shared(draw: Draw) -> Problem:
    """Multiply trays by their load, then divide among friends."""
    name = draw.name()
    food = draw.one(("cookies", "muffins", "rolls", "biscuits"))
    trays, friends = draw.number(2, 5), draw.number(3, 6)
    per_tray = friends * draw.number(2, 4)
    baked = Step(f"{name} bakes {{}} {food}.", trays, "*", per_tray)
    share = Step(f"Each friend gets {{}} {food}.", baked.value, "/", friends)
    return Problem(
        f"{name} bakes {trays} trays of {food} with {per_tray} {food} on each tray, then shares "
        f"them all equally among {friends} friends. How many {food} does each friend get?",
        (baked, share),
    )


@template
def bus_passengers(draw: Draw) -> Problem:
    """Subtract, then add twice."""
    start, off = draw.number(14, 28), draw.number(3, 9)
    on_first, on_second = draw.number(2, 8), draw.number(2, 8)
    after_off = Step("After people get off, {} are left.", start, "-", off)
    after_first = Step("Then {} are on the bus.", after_off.value, "+", on_first)
    after_second = Step("At the end, {} are on it.", after_first.value, "+", on_second)
    return Problem(
        f"A bus carries {start} passengers. At the first stop {off} get off and {on_first} get "
        f"on. At the second stop {on_second} more get on. How many passengers are on the bus now?",
        (after_off, after_first, after_second),
    )


@template
def ages(draw: Draw) -> Problem:
    """Multiply an age, then subtract."""
    young, middle, other = draw.names(3)
    age, times, fewer = draw.number(4, 12), draw.number(2, 4), draw.number(1, 4)
    second = Step(f"{middle} is {{}} years old.", age, "*", times)
    third = Step(f"{other} is {{}} years old.", second.value, "-", fewer)
    years = "year" if fewer == 1 else "years"
    return Problem(
        f"{young} is {age} years old. {middle} is {times} times as old as {young}. {other} is "
        f"{fewer} {years} younger than {middle}. How old is {other}?",
        (second, third),
    )


@template
def saving_up(draw: Draw) -> Problem:
    """Subtract the savings from a price, then divide by the weekly saving."""
    name = draw.name()
    thing = draw.one(("bicycle", "guitar", "tent", "telescope", "skateboard"))
    weekly, weeks, saved = draw.number(4, 12), draw.number(4, 10), draw.number(15, 40)
    price = saved + weekly * weeks
    missing = Step(f"{name} still needs {{}} dollars.", price, "-", saved)
    wait = Step("That takes {} weeks.", missing.value, "/", weekly)
    return Problem(
        f"{name} wants a {thing} that costs {price} dollars and already has {saved} dollars. "
        f"{name} saves {weekly} dollars a week. In how many weeks will {name} have enough?",
        (missing, wait),
    )


@template
def fence_around(draw: Draw) -> Problem:
    """Find the perimeter of a rectangle."""
    place = draw.one(("garden", "playground", "chicken yard", "field"))
    width = draw.number(5, 15)
    length = width + draw.number(2, 15)
    half = Step("One long and one short side make {} meters.", length, "+", width)
    around = Step("The whole way around is {} meters.", half.value, "*", 2)
    return Problem(
        f"A rectangular {place} is {length} meters long and {width} meters wide. How many meters "
        "of fence are needed to go around it once?",
        (half, around),
    )


@template
def floor_tiles(draw: Draw) -> Problem:
    """Find the area of a rectangle, then divide by the cover of one box."""
    room = draw.one(("hallway", "classroom", "workshop", "dining hall"))
    cover, width = draw.number(2, 4), draw.number(3, 5)
    length = cover * draw.number(3, 5)
    area = Step("The floor has {} square meters.", length, "*", width)
    boxes = Step("It takes {} boxes.", area.value, "/", cover)
    return Problem(
        f"The floor of a {room} is {length} meters long and {width} meters wide. One box of tiles "
        f"covers {cover} square meters. How many boxes are needed to tile the floor?",
        (area, boxes),
    )


@template
def two_part_trip(draw: Draw) -> Problem:
    """Multiply speed by time for two parts, then add them."""
    name = draw.name()
    fast, slow = draw.number(8, 11) * 10, draw.number(4, 7) * 10
    hours_fast, hours_slow = draw.number(2, 4), draw.number(2, 3)
    first = Step("The first part is {} kilometers.", fast, "*", hours_fast)
    second = Step("The second part is {} kilometers.", slow, "*", hours_slow)
    whole = Step("The trip is {} kilometers.", first.value, "+", second.value)
    return Problem(
        f"{name} drives for {hours_fast} hours at {fast} kilometers per hour and then for "
        f"{hours_slow} hours at {slow} kilometers per hour. How many kilometers does {name} drive "
        "in all?",
        (first, second, whole),
    )


@template
def empty_chairs(draw: Draw) -> Problem:
    """Multiply rows by their length, then subtract."""
    event = draw.one(("concert", "school play", "puppet show", "talk"))
    rows, chairs = draw.number(5, 12), draw.number(6, 12)
    people = draw.number(rows * chairs // 2, rows * chairs - 3)
    total = Step("There are {} chairs.", rows, "*", chairs)
    empty = Step("So {} chairs are empty.", total.value, "-", people)
    return Problem(
        f"For a {event} there are {rows} rows of {chairs} chairs. {people} people come and each "
        "sits on one chair. How many chairs stay empty?",
        (total, empty),
    )


@template
def farm_legs(draw: Draw) -> Problem:
    """Multiply for two kinds of animal, then add."""
    name = draw.name()
    big = draw.one(("cows", "sheep", "goats", "horses"))
    small = draw.one(("chickens", "ducks", "geese"))
    four_legged, two_legged = draw.number(3, 12), draw.number(4, 15)
    first = Step(f"The {big} have {{}} legs.", four_legged, "*", 4)
    second = Step(f"The {small} have {{}} legs.", two_legged, "*", 2)
    total = Step("Together they have {} legs.", first.value, "+", second.value)
    return Problem(
        f"{name} keeps {four_legged} {big}, which have 4 legs each, and {two_legged} {small}, "
        "which have 2 legs each. How many legs do the animals have in all?",
        (first, second, total),
    )


@template
def half_then_more(draw: Draw) -> Problem:
    """Halve, then add."""
    name, friend = draw.names(2)
    thing = draw.one(("stickers", "marbles", "stamps", "beads"))
    start, more = 2 * draw.number(6, 20), draw.number(4, 15)
    kept = Step(f"{name} keeps {{}} {thing}.", start, "/", 2)
    now = Step(f"Then {name} has {{}} {thing}.", kept.value, "+", more)
    return Problem(
        f"{name} has {start} {thing} and gives half of them to {friend}. Later {name} buys {more} "
        f"more. How many {thing} does {name} have now?",
        (kept, now),
    )


@template
def weekend_wages(draw: Draw) -> Problem:
    """Add hours, then multiply by the pay."""
    name = draw.name()
    work = draw.one(("washing cars", "painting fences", "mowing lawns", "tutoring"))
    rate, saturday, sunday = draw.number(8, 15), draw.number(3, 6), draw.number(2, 5)
    hours = Step(f"{name} works {{}} hours.", saturday, "+", sunday)
    pay = Step(f"{name} earns {{}} dollars.", hours.value, "*", rate)
    return Problem(
        f"{name} earns {rate} dollars an hour {work}. {name} works {saturday} hours on Saturday "
        f"and {sunday} hours on Sunday. How many dollars does {name} earn in all?",
        (hours, pay),
    )


@template
def falling_temperature(draw: Draw) -> Problem:
    """Multiply the rate by the hours, then subtract."""
    start, per_hour, hours = draw.number(19, 30), draw.number(1, 3), draw.number(2, 5)
    fall = Step("It falls by {} degrees.", per_hour, "*", hours)
    end = Step("The temperature is then {} degrees.", start, "-", fall.value)
    degrees = "degree" if per_hour == 1 else "degrees"
    return Problem(
        f"In the evening it is {start} degrees outside. The temperature then falls by {per_hour} "
        f"{degrees} every hour. What is the temperature, in degrees, {hours} hours later?",
        (fall, end),
    )


@template
def parking_spaces(draw: Draw) -> Problem:
    """Multiply floors by spaces, then subtract twice."""
    floors, spaces = draw.number(3, 6), draw.number(12, 25)
    parked = draw.number(20, floors * spaces - 12)
    arriving = draw.number(3, 10)
    total = Step("There are {} spaces.", floors, "*", spaces)
    before = Step("At first {} are free.", total.value, "-", parked)
    after = Step("Then {} are free.", before.value, "-", arriving)
    return Problem(
        f"A parking garage has {floors} floors with {spaces} spaces on each floor. {parked} cars "
        f"are parked there and {arriving} more arrive. How many spaces are free then?",
        (total, before, after),
    )


@template
def bigger_recipe(draw: Draw) -> Problem:
    """Divide to find the factor, then multiply."""
    food = draw.one(("pancakes", "omelets", "dumplings", "waffles"))
    people, eggs, times = draw.number(2, 6), draw.number(2, 5), draw.number(2, 5)
    guests = people * times
    batches = Step("The recipe is made {} times.", guests, "/", people)
    total = Step("That takes {} eggs.", batches.value, "*", eggs)
    return Problem(
        f"A recipe for {food} uses {eggs} eggs and serves {people} people. How many eggs are "
        f"needed to serve {guests} people?",
        (batches, total),
    )


@template
def practice_minutes(draw: Draw) -> Problem:
    """Multiply minutes by days, then add."""
    name = draw.name()
    skill = draw.one(("piano", "violin", "drums", "flute"))
    minutes, days, sunday = draw.number(4, 9) * 5, draw.number(3, 5), draw.number(10, 14) * 5
    weekdays = Step("The weekdays give {} minutes.", minutes, "*", days)
    total = Step("The week gives {} minutes.", weekdays.value, "+", sunday)
    return Problem(
        f"{name} practices the {skill} for {minutes} minutes on each of {days} weekdays and for "
        f"{sunday} minutes on Sunday. How many minutes does {name} practice that week?",
        (weekdays, total),
    )


@template
def collected_together(draw: Draw) -> Problem:
    """Add a difference, then add both people."""
    first, second = draw.names(2)
    thing = draw.one(("shells", "acorns", "pebbles", "pine cones"))
    count, more = draw.number(6, 25), draw.number(3, 12)
    other = Step(f"{second} finds {{}} {thing}.", count, "+", more)
    both = Step(f"Together they have {{}} {thing}.", count, "+", other.value)
    return Problem(
        f"{first} finds {count} {thing}. {second} finds {more} more {thing} than {first}. How "
        f"many {thing} do they find together?",
        (other, both),
    )


@template
def filling_a_tank(draw: Draw) -> Problem:
    """Subtract what is inside, then divide by the flow."""
    vessel = draw.one(("tank", "paddling pool", "rain barrel", "fish tank"))
    per_minute, minutes, inside = draw.number(4, 12), draw.number(5, 20), draw.number(2, 12) * 5
    volume = inside + per_minute * minutes
    missing = Step("{} liters are missing.", volume, "-", inside)
    wait = Step("It takes {} minutes.", missing.value, "/", per_minute)
    return Problem(
        f"A {vessel} that holds {volume} liters has {inside} liters of water in it. A hose adds "
        f"{per_minute} liters a minute. After how many minutes is the {vessel} full?",
        (missing, wait),
    )


@template
def family_tickets(draw: Draw) -> Problem:
    """Multiply for two prices, then add."""
    place = draw.one(("zoo", "museum", "circus", "water park"))
    child_price = draw.number(3, 8)
    adult_price = child_price + draw.number(2, 7)
    adults, children = draw.number(2, 4), draw.number(2, 5)
    first = Step("The adults pay {} dollars.", adults, "*", adult_price)
    second = Step("The children pay {} dollars.", children, "*", child_price)
    total = Step("Together they pay {} dollars.", first.value, "+", second.value)
    return Problem(
        f"A ticket for the {place} costs {adult_price} dollars for an adult and {child_price} "
        f"dollars for a child. How many dollars do {adults} adults and {children} children pay?",
        (first, second, total),
    )


@template
def books_on_shelves(draw: Draw) -> Problem:
    """Divide equally, then subtract."""
    name = draw.name()
    shelves, each = draw.number(3, 8), draw.number(8, 20)
    borrowed = draw.number(2, 6)
    on_shelf = Step("Each shelf gets {} books.", shelves * each, "/", shelves)
    left = Step("The top shelf then has {} books.", on_shelf.value, "-", borrowed)
    return Problem(
        f"{name} puts {shelves * each} books on {shelves} shelves, the same number on each shelf. "
        f"Then a friend borrows {borrowed} books from the top shelf. How many are left on it?",
        (on_shelf, left),
    )


@template
def stairs_up_and_down(draw: Draw) -> Problem:
    """Multiply steps by floors, then double."""
    name = draw.name()
    steps, floors = draw.number(10, 20), draw.number(2, 6)
    up = Step("Going up takes {} steps.", steps, "*", floors)
    both = Step("Up and down takes {} steps.", up.value, "*", 2)
    return Problem(
        f"In {name}'s building there are {steps} steps from each floor to the next. {name} walks "
        f"up {floors} floors and back down again. How many steps does {name} take?",
        (up, both),
    )


@template
def egg_cartons(draw: Draw) -> Problem:
    """Multiply eggs by days, then divide by the size of a carton."""
    name = draw.name()
    daily, days = 6 * draw.number(2, 5), draw.number(2, 7)
    eggs = Step(f"{name} collects {{}} eggs.", daily, "*", days)
    cartons = Step("They fill {} cartons.", eggs.value, "/", 6)
    return Problem(
        f"{name} collects {daily} eggs every day and packs them into cartons of 6 eggs. How many "
        f"cartons do the eggs of {days} days fill?",
        (eggs, cartons),
    )


@template
def rope_pieces(draw: Draw) -> Problem:
    """Multiply pieces by their length, then subtract."""
    name = draw.name()
    material = draw.one(("rope", "ribbon", "wire", "garden hose"))
    pieces, each = draw.number(3, 7), draw.number(2, 6)
    length = pieces * each + draw.number(2, 15)
    cut = Step("The pieces take {} meters.", pieces, "*", each)
    left = Step("Then {} meters are left.", length, "-", cut.value)
    return Problem(
        f"{name} has {length} meters of {material} and cuts off {pieces} pieces of {each} meters "
        f"each. How many meters of {material} are left?",
        (cut, left),
    )


@template
def three_colors(draw: Draw) -> Problem:
    """Multiply for one color, then add all three."""
    thing = draw.one(("balls", "balloons", "blocks", "buttons"))
    red, blue, times = draw.number(4, 12), draw.number(5, 15), draw.number(2, 3)
    green = Step(f"There are {{}} green {thing}.", red, "*", times)
    two = Step("Red and blue make {}.", red, "+", blue)
    total = Step(f"In all there are {{}} {thing}.", two.value, "+", green.value)
    return Problem(
        f"A box holds {red} red {thing}, {blue} blue {thing} and {times} times as many green "
        f"{thing} as red ones. How many {thing} are in the box?",
        (green, two, total),
    )


@template
def basketball_points(draw: Draw) -> Problem:
    """Multiply for two kinds of shot, then add."""
    name = draw.name()
    twos, threes = draw.number(3, 10), draw.number(2, 6)
    first = Step("The first shots give {} points.", twos, "*", 2)
    second = Step("The others give {} points.", threes, "*", 3)
    total = Step(f"{name} scores {{}} points.", first.value, "+", second.value)
    return Problem(
        f"In a basketball game {name} makes {twos} shots worth 2 points each and {threes} shots "
        f"worth 3 points each. How many points does {name} score?",
        (first, second, total),
    )


@template
def walking_to_work(draw: Draw) -> Problem:
    """Double for the way back, then multiply by the days."""
    name = draw.name()
    place = draw.one(("school", "work", "the pool", "the library"))
    blocks, days = draw.number(4, 15), draw.number(2, 6)
    daily = Step(f"{name} walks {{}} blocks a day.", blocks, "*", 2)
    total = Step(f"In {days} days it is {{}} blocks.", daily.value, "*", days)
    return Problem(
        f"{name} walks {blocks} blocks to {place} and the same way back. {name} does this on "
        f"{days} days. How many blocks does {name} walk in all?",
        (daily, total),
    )


@template
def packed_for_sale(draw: Draw) -> Problem:
    """Divide into packs, then multiply by the price."""
    name = draw.name()
    item = draw.one(("soaps", "postcards", "pencils", "tea bags"))
    packs, size, price = draw.number(3, 9), draw.number(4, 10), draw.number(2, 6)
    count = Step(f"The {item} fill {{}} packs.", packs * size, "/", size)
    money = Step(f"{name} gets {{}} dollars.", count.value, "*", price)
    return Problem(
        f"{name} has {packs * size} {item}, puts them into packs of {size} and sells every pack "
        f"for {price} dollars. How many dollars does {name} get?",
        (count, money),
    )


def _identity(name: str, question: str) -> tuple[str, ...]:
    """Return what tells two problems apart: the kind and the numbers, not the names."""
    return (name, *re.findall(r"\d+", question))


def generate(seed: int = SEED) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Return the test records and the train records.

    Every kind of problem is used about equally often, and no two problems, in either list, are of
    one kind with the same numbers.
    """
    draw = Draw(seed)
    records: list[dict[str, str]] = []
    seen: set[tuple[str, ...]] = set()
    while len(records) < TRAIN_COUNT + TEST_COUNT:
        for make in draw.several(TEMPLATES, len(TEMPLATES)):
            record = make(draw).record()
            while _identity(make.__name__, record["question"]) in seen:
                record = make(draw).record()
            seen.add(_identity(make.__name__, record["question"]))
            records.append(record)
    return records[TRAIN_COUNT : TRAIN_COUNT + TEST_COUNT], records[:TRAIN_COUNT]


def render(records: Sequence[dict[str, str]]) -> str:
    """Return the records as JSON Lines, one object a line."""
    return "".join(json.dumps(record) + "\n" for record in records)


def main() -> None:
    """Rewrite the two files."""
    test, train = generate()
    OUTPUT_DIR.mkdir(parents=True, exist_ok=True)
    for name, records in (("test", test), ("train", train)):
        path = OUTPUT_DIR / f"{name}.jsonl"
        path.write_text(render(records), encoding="ascii", newline="\n")
        print(f"{path}: {len(records)} problems")


if __name__ == "__main__":
    main()
