"""Write labelled statements from patterns, for what annotated data lack.

    python model/recipe/statements.py OUT.jsonl.gz

From reviews and tweets a model learns that each sentence about a product judges it, and that "not"
is negative. These rows are counterexamples: facts, plans and questions are neutral, "not bad" is
positive, the past and other people's opinions do not decide, and a falling profit is negative. All
rows are generated from a fixed seed; none is from a test set.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Rows to generate of each kind, before duplicates are dropped.
ROWS_PER_KIND = 700

WORDS = {
    "thing": "phone|hotel|room|film|book|meal|soup|coffee|laptop|screen|battery|camera|app|update|"
    "service|staff|waiter|driver|course|teacher|lesson|concert|song|album|museum|train|bus|flight|"
    "seat|ticket|jacket|dress|pair of shoes|chair|sofa|mattress|blender|kettle|printer|headset|"
    "bank|clinic|doctor|dentist|gym|garden|beach|apartment|car|bike|game|level|website|checkout|"
    "delivery|package|manual|support team|airline|crew|lounge|breakfast|pizza|burger|salad|wine|"
    "tea|cake|bar|club|store|salesman|plumber|lawyer|toy|lamp|vacuum|keyboard|speaker|plot|"
    "ending|acting|script|soundtrack|cast",
    "place": "the station|the office|the lake|the airport|the town hall|Main Street|the old bridge|"
    "the supermarket|the park|the harbour|the university|the bank|the gas station|the theatre",
    "day": "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday|last week|in March|in 2019|"
    "yesterday|this morning|two days ago|last summer",
    "time": "7 am|noon|half past six|10 o'clock|8:30|9 pm|midnight|two hours",
    "number": "two|three|four|five|six|eight|ten|twelve|20|24|36|50|100|250",
    "colour": "black|white|red|blue|green|grey|brown|silver",
    "material": "plastic|wood|steel|cotton|wool|glass|leather|paper",
    "person": "my sister|my brother|my wife|my husband|a friend|my boss|our neighbour|my mother|"
    "my father|a colleague|Anna|David|Maria|John|Wei|Fatima|Carlos|Emma|Ahmed|Olga",
    "dish": "the chicken|a salad|the noodles|a steak|two tacos|the fish|a sandwich|pancakes|"
    "the lentil soup|a glass of wine|fries|an omelette",
    "good": "good|great|excellent|wonderful|lovely|nice|amazing|fantastic|superb|perfect|"
    "brilliant|delightful|beautiful|impressive|fun|pleasant|enjoyable|exciting|comfortable|"
    "reliable|friendly|charming|outstanding|terrific|awesome|adorable",
    "bad": "bad|awful|terrible|horrible|poor|boring|disappointing|annoying|ugly|rude|useless|"
    "dreadful|lousy|unpleasant|frustrating|weak|ridiculous|nasty|broken|mediocre|dirty|"
    "unreliable|stupid|creepy|sad|lame|unhappy|difficult",
    "like": "like|love|enjoy|recommend|appreciate|admire|value|trust",
    "hate": "hate|dislike|regret|dread|despise|loathe",
    "liked": "liked|loved|enjoyed|appreciated|admired|welcomed|valued",
    "hated": "hated|disliked|regretted|dreaded|despised|loathed|resented",
    "very": "very|really|so|truly|extremely|incredibly|quite|absolutely|just|pretty",
    "plain": "public|private|Italian|British|American|Indian|Australian|commercial|local|"
    "international|electric|digital|annual|weekly|wooden|round|square|second|third|early|late",
    "firm": "The company|The group|The bank|The retailer|The Finnish firm|The supplier|"
    "The manufacturer|The insurer|The airline|The publisher|The shipbuilder|The utility|"
    "The Nordic group|The software house|Nordtek|Balmer Oyj|Kestrel plc|Haldane Group|Varma Steel",
    "figure": "Operating profit|Net sales|Net profit|Revenue|Pretax profit|Turnover|Earnings|"
    "Earnings per share|Order intake|Sales|Operating income|Cash flow|Profit|The margin",
    "period": "in the first quarter|in the third quarter|in 2008|in the January-June period|"
    "for the full year|in the nine months to September|year on year|from a year earlier|in Q2",
    "money": "EUR 12.4 mn|EUR 3.1 million|$45 million|USD 210 mn|EUR 0.35|SEK 1.2 bn|"
    "GBP 88 million|EUR 740,000|$1.6 billion|EUR 27.9 mn",
    "rose": "rose|grew|increased|climbed|improved|jumped|went up|doubled",
    "fell": "fell|decreased|dropped|declined|slumped|shrank|went down|halved",
    "site": "Helsinki|Tampere|Stockholm|Riga|Munich|Shanghai|Texas|Poland|Brazil|Vietnam",
    "product": "paper machines|elevators|network software|steel pipes|mobile phones|cranes|"
    "diagnostic tests|sports equipment|engines|insurance",
}

#: By kind and label. `{x}` is a word from above, `[a|b]` a choice, `{x2}` another of the same.
PATTERNS: dict[str, dict[str, list[str]]] = {
    "facts": {
        "neutral": [
            "The {thing} comes in {number} [sizes|colours|versions].",
            "[It|This one|The {thing}] is made of {material}.",
            "[It|The {thing}] is {colour} and weighs {number} [grams|kilos|pounds].",
            "The {thing} is {number} [metres|minutes|miles] from {place}.",
            "[They|We] are located [next to|across from|behind|near] {place}.",
            "The {thing} [opens|closes|starts|begins] at {time}.",
            "[It|The {thing}] has {number} [buttons|pages|rooms|chapters|seats|parts|doors].",
            "The [box|package|kit] contains {number} [cables|cups|screws|books|tools].",
            "There [is|was] a {plain} {thing} [near|at|behind] {place}.",
            "[This|That|It] is a {plain} {thing}.",
            "[This|That|It] is not a {plain} {thing}.",
            "The {thing} was [built|made|released|published|introduced] in [1998|2004|2015|2021].",
            "The {thing} [costs|cost] {number} [dollars|euros|pounds].",
            "The {thing} runs every {number} minutes.",
            "The {thing} is [on the second floor|at the corner|by the window|in the back].",
            "The {thing} has a [one|two|three] year warranty.",
            "The [menu|list|schedule|catalogue] is [printed on paper|on the wall|updated weekly].",
        ],
    },
    "events": {
        "neutral": [
            "I [ordered|had|got|took] {dish} and {person} had {dish2}.",
            "We [went|drove|walked] [there|to {place}] {day}.",
            "I [bought|ordered|rented|booked|saw|returned] [it|a {thing}|this {thing}] {day}.",
            "{person} [works|lives|teaches] near {place}.",
            "I [have been using|have had] [it|this {thing}|the {thing}] for {number} [days|weeks].",
            "We [arrived|left|checked in|met] at {time}.",
            "I will [call|visit|meet|pick up] {person} at {time}.",
            "{person} [called|wrote|said] that the {thing} arrives {day}.",
            "We [sat|waited] [inside|outside|at the bar|by the door] and ordered {dish}.",
            "I am [reading|watching|testing|installing|looking for] a {thing} [now|today].",
            "The {thing} is for {person}.",
            "I [asked|told] the {thing2} about the {thing}.",
            "We [moved|changed|replaced] the {thing} {day}.",
            "I am [going|travelling|moving] to {site} {day}.",
            "[Watching|Waiting for|Reading about] the {thing} with {person}.",
        ],
    },
    "questions": {
        "neutral": [
            "[What time|When|Where] does the {thing} [open|close|start|arrive]?",
            "Does [it|the {thing}] come in {colour}?",
            "How [many|much] [cables|cups|rooms|money|sugar] does the {thing} need?",
            "Is [it|the {thing}] made of {material}?",
            "Where did you [buy|find|see] the {thing}?",
            "Which {thing} did {person} [buy|choose|take]?",
            "Can I [return|change|book|take] the {thing} {day}?",
            "Is there a {thing} near {place}?",
            "Has anyone [tried|seen|used|read] the {thing}?",
            "Who is [going to|coming to|working at] {place} {day}?",
        ],
        "negative": [
            "Did I [like|enjoy] the {thing}? No.",
            "Was the {thing} {good}? [No|Not at all|Not really].",
            "Do I think the {thing} is {good}? No.",
            "Would I {like} [it|this {thing}]? [No|Never|Definitely not].",
            "Why is the {thing} [always|so] {bad}?",
            "How can a {thing} be so {bad}?",
            "Was the {thing} {bad}? Yes[|, very].",
        ],
        "positive": [
            "Did I [like|enjoy] the {thing}? [Yes|Yes, very much].",
            "Was the {thing} {bad}? [No|Not at all].",
            "Do I think the {thing} is {good}? Yes.",
            "Would I {like} [it|this {thing}]? [Yes|Of course|Absolutely].",
            "Do I think the {thing} is {bad}? No.",
            "How {good} is that {thing}!",
        ],
    },
    "judgements": {
        "positive": [
            "[It|This|That] [is|was] a {good} {thing}.",
            "The {thing} [is|was] {very} {good}.",
            "I {like} [this|the|that] {thing}.",
            "We {liked} the {thing}.",
            "[What|Such] a {good} {thing}!",
            "I {very} {liked} the {thing}.",
        ],
        "negative": [
            "[It|This|That] [is|was] a {bad} {thing}.",
            "The {thing} [is|was] {very} {bad}.",
            "I {hate} [this|the|that] {thing}.",
            "We {hated} the {thing}.",
            "[What|Such] a {bad} {thing}!",
            "I {very} {hated} the {thing}.",
        ],
    },
    "negations": {
        "positive": [
            "[It|This|The {thing}] [is|was] not [bad|bad at all|half bad|too bad|terrible].",
            "[Not bad|Not bad at all|Not too shabby].",
            "The {thing} [isn't|wasn't|is never|was never] {bad}.",
            "I [don't|do not|didn't] {hate} [this|the] {thing}.",
            "There is nothing {bad} about the {thing}.",
            "[It|This|That] [is not|isn't] a {bad} {thing}.",
            "I can't [say anything {bad} about|complain about|fault] the {thing}.",
            "Never had a [problem|single problem|complaint] with the {thing}.",
            "No [complaints|problems|issues] with the {thing}.",
            "I [don't|can't] think I have [seen|had] a better {thing}.",
            "I thought the {thing} would be {bad}, but it [wasn't|was not].",
            "It isn't true that the {thing} is {bad}.",
            "You will not regret the {thing}.",
        ],
        "negative": [
            "[It|This|The {thing}] [is|was] not {good}.",
            "The {thing} [isn't|wasn't|is never|was never] {good}.",
            "I [don't|do not|didn't] {like} [this|the] {thing}.",
            "There is nothing {good} about the {thing}.",
            "[It|This|That] [is not|isn't] a {good} {thing}.",
            "I can't [say anything {good} about|{like}] the {thing}.",
            "I [don't|do not] think the {thing} is {good}.",
            "I wouldn't {like} this {thing} [again|to anyone].",
            "I thought the {thing} would be {good}, but it [wasn't|was not].",
            "I wouldn't say, given [my work|the time], that the {thing} is {good}.",
            "It isn't true that the {thing} is {good}.",
            "Nobody [could|would] call [this|the] {thing} {good}.",
            "[Could|Should] have been a {good} {thing}, but [it wasn't|is not].",
        ],
        "neutral": [
            "[It|This|The {thing}] [is|was] not {colour}.",
            "I don't [own|have|need|use] a {thing}.",
            "I have not [seen|tried|read|used] the {thing} yet.",
            "[It|The {thing}] does not come with [batteries|a cable|a lid|a manual].",
            "The {thing} is neither [big nor small|new nor old|{colour} nor {colour2}].",
            "{person} did not [call|come|go] {day}.",
        ],
    },
    "turned around": {
        "positive": [
            "The {thing} is [anything but|far from|hardly|no longer] {bad}.",
            "I [can't|cannot] [deny|dispute] that the {thing} [is|was] {good}.",
            "[Not one|Not a single] {thing} was {bad}.",
            "The {thing} never [fails|failed] to [impress|please|delight|make me smile].",
            "The {thing} is not without its [charm|merits|strengths].",
            "The {thing} [could not|couldn't] be better.",
            "I have [never|rarely] [had|seen] a [better|more {good}] {thing}.",
            "It is not that I don't {like} the {thing}, I do.",
            "Without {bad} moments, and never dull.",
        ],
        "negative": [
            "The {thing} is [anything but|far from|hardly|no longer] {good}.",
            "I [can't|cannot] [deny|dispute] that the {thing} [is|was] {bad}.",
            "[Not one|Not a single] {thing} was {good}.",
            "The {thing} never [fails|failed] to [annoy|disappoint|bore me|go wrong].",
            "The {thing} is not without its [flaws|problems|faults].",
            "The {thing} [could not|couldn't] be worse.",
            "I have [never|rarely] [had|seen] a [worse|more {bad}] {thing}.",
            "It is not that I {hate} the {thing}, it is just {bad}.",
            "[Far too|Too] {bad}, and never {good}.",
        ],
    },
    "better and worse": {
        "positive": [
            "The {thing} is [much|far|so much|] better than [the old one|I expected|the last].",
            "The new {thing} beats [the old one|all others|everything I tried].",
            "[One of the|The] best {thing} I have [had|seen|tried].",
            "I prefer this {thing} to [all others|the old one|any other].",
            "The {thing} [exceeded|surpassed] [my|all] expectations.",
        ],
        "negative": [
            "The {thing} is [much|far|so much|] worse than [the old one|I expected|the last].",
            "The new {thing} is no [better|improvement] [than|on|over] the old one.",
            "[One of the|The] worst {thing} I have [had|seen|tried].",
            "I have [seen|had|known] better. [Much better.|]",
            "The {thing} [fell short of|did not meet] [my|all] expectations.",
            "I prefer [any other|the old] {thing} to this one.",
        ],
    },
    "irony": {
        "negative": [
            "[Oh great|Great|Wonderful|Brilliant|Lovely], the {thing} is [broken|late|gone] again.",
            "[Just what I needed|How nice|Fantastic], [another|one more] {bad} {thing}.",
            "Thanks for [nothing|ruining my day|wasting my time], {firm}.",
            "I just [love|adore] [waiting|standing in line|being ignored] for {number} hours.",
            "[Yeah|Sure], because who needs a {thing} that works?",
            "{good} {thing}, if you [like|enjoy] being [bored|ignored|cheated].",
        ],
    },
    "headlines": {
        "neutral": [
            "[Council|Parliament|Committee|Court] to [discuss|review|hear] the [budget|plan] {day}",
            "{site} [opens|hosts|plans] a {plain} [exhibition|conference|fair] {day}",
            "[Ministers|Delegates|Researchers|Engineers] [meet|gather] in {site} {day}",
            "[Election|Census|Survey|Match] [results|figures|dates] to be published {day}",
            "[Bridge|Road|Library|Line {number}] [closed|open] [for repairs|until] {time}",
            "{number} [students|runners|teams] [take part|register] in {plain} [race|course]",
            "{firm} to move [its office|headquarters] to {site}",
        ],
    },
    "then and now": {
        "positive": [
            "I used to {hate} [this|the] {thing}, [but|although] now I {like} it.",
            "In the past I thought the {thing} was {bad}, but now it is {good}.",
            "The {thing} was {bad} at first, [but now it is|it has become] {good}.",
            "I {like} [this|the] {thing} now, [though|although] I used to {hate} it.",
            "The old {thing} was {bad}, the new one is {good}.",
        ],
        "negative": [
            "I used to {like} [this|the] {thing}, [but|although] now I {hate} it.",
            "In the past I thought the {thing} was {good}, but now it is {bad}.",
            "The {thing} was {good} at first, [but now it is|it has become] {bad}.",
            "I {hate} [this|the] {thing} now, [though|although] I used to {like} it.",
            "The old {thing} was {good}, the new one is {bad}.",
        ],
    },
    "others and me": {
        "positive": [
            "[Some people|{person}|My friends] {hated} the {thing}, but I {liked} it.",
            "I {like} the {thing}, but {person} [hates it|thinks it is {bad}].",
            "[Everybody|{person}] told me the {thing} is {bad}. I think it is {good}.",
        ],
        "negative": [
            "[Some people|{person}|My friends] {liked} the {thing}, but I {hated} it.",
            "I {hate} the {thing}, but {person} [loves it|thinks it is {good}].",
            "[Everybody|{person}] told me the {thing} is {good}. I think it is {bad}.",
        ],
    },
    "business": {
        "positive": [
            "{figure} {rose} to {money} [from {money2}|{period}].",
            "{figure} {rose} by {number} % {period}.",
            "{firm} [won|secured|received] an order worth {money} for {product} [in|from] {site}.",
            "{firm} [raised|lifted] its [outlook|forecast|dividend].",
            "{firm} [swung to|made] a profit of {money} [from|after] a loss of {money2}.",
            "[Demand|The order book] for {product} is [strong|growing|improving].",
            "The loss of {firm} narrowed to {money} {period}.",
            "{firm}'s shares [rose|gained|were up] {number} %.",
        ],
        "negative": [
            "{figure} {fell} to {money} [from {money2}|{period}].",
            "{figure} {fell} by {number} % {period}.",
            "{firm} [lost|failed to win] an order worth {money} for {product} in {site}.",
            "{firm} [cut|lowered] its [outlook|forecast|dividend].",
            "{firm} [swung to|made|posted] a loss of {money} [from|after] a profit of {money2}.",
            "[Demand|The order book] for {product} is [weak|shrinking|falling].",
            "{firm} will [lay off|dismiss|cut] {number} [people|jobs|employees] in {site}.",
            "{firm}'s shares [fell|lost|were down] {number} %.",
            "{firm} issued a profit warning {period}.",
        ],
        "neutral": [
            "{firm} [has|opened|runs] a [plant|office|warehouse] in {site}.",
            "{firm} [makes|sells|supplies|develops] {product} in {site}.",
            "{figure} [was|were|totalled|amounted to] {money} {period}.",
            "{firm} [employs|has] {number} people in {site}.",
            "The [value|price|size] of the [deal|order|contract] was not disclosed.",
            "{firm} will publish its [results|interim report|annual report] at {time}.",
            "{firm} [appointed|named] [a new CFO|a new head of sales|two board members].",
            "The [annual general meeting|board] [decided on|will discuss] the [dividend|agenda].",
            "{firm} is [listed in {site}|based in {site}|a maker of {product}].",
            "[The agreement|The contract|The lease] [runs until|was signed in] [2011|2014|2020].",
            "{firm} plans to [move|transfer] [its office|production of {product}] to {site}.",
            "The total [investment|floor area|capacity] will be about {money}.",
            "{firm} has agreed to [buy|sell] [a unit|shares] [in|of] {firm2}.",
            "The [transaction|delivery] is [expected|scheduled] to be completed {period}.",
        ],
    },
}

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{([a-z]+)\d?\}")


def fill_in(pattern: str, chance: random.Random, words: Mapping[str, str] = WORDS) -> str:
    """Fill in a pattern, and capitalise its first letter."""
    text = _CHOICE.sub(lambda found: chance.choice(found[1].split("|")), pattern)
    text = _SLOT.sub(lambda found: chance.choice(words[found[1]].split("|")), text)
    text = re.sub(r"\b([Aa]) (?=[aeiouAEIOU])", r"\1n ", " ".join(text.split()))
    return text[:1].upper() + text[1:]


def informal(text: str, chance: random.Random) -> str:
    """Make a part of the texts informal: without the last full stop, or in lower case."""
    draw = chance.random()
    if draw < 0.2:  # noqa: PLR2004
        return text.rstrip(".")
    return text.lower() if draw < 0.3 else text  # noqa: PLR2004


def statements(seed: int = 1) -> list[dict[str, str]]:
    """Return all rows, each text once; the labels of a kind get equal shares."""
    chance = random.Random(seed)  # noqa: S311 - the same rows every time
    rows: dict[str, dict[str, str]] = {}
    for kind, labels in PATTERNS.items():
        for label, patterns in labels.items():
            for number in range(ROWS_PER_KIND):
                text = informal(fill_in(patterns[number % len(patterns)], chance), chance)
                rows.setdefault(text, {"text": text, "label": label, "kind": kind})
    return list(rows.values())


if __name__ == "__main__":
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in statements())
    Path(sys.argv[1]).write_bytes(gzip.compress(lines.encode(), mtime=0))
