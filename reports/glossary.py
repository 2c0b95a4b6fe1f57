"""What the words of the report mean: tooltips of headings, and the list at the end of the page."""

from __future__ import annotations

from reports.columns import Column

#: Words of the field and of this tool.
GLOSSARY = {
    "Accuracy against digital": "Points of the average of eight question benchmarks that a design "
    "gains or loses against the same model computed digitally; negative is lost.",
    "ADC, DAC": "Converters: digital inputs to voltages or pulses (DAC), the currents of a "
    "column to digital numbers (ADC).",
    "Analog tile": "An array of memory cells that multiplies a vector by the matrix which its "
    "conductances hold, in place and in one step.",
    "Band": "Where a number lies with a probability of 68 %.",
    "Design": "One machine with one placement: hardware parameters, and which parts of the model "
    "are computed where.",
    "Digital expert": "A routed expert computed on the digital accelerator, its weights fetched "
    "from memory; the other experts are on analog tiles.",
    "Drift": "Slow loss of conductance after programming; it grows with the age of the weights.",
    "Expert": "One of the feed-forward networks of a layer, of which the router picks a few for "
    "each token.",
    "Front": "Designs that no other beats in every objective of the search (Pareto front), and "
    "that can be told apart.",
    "HBM": "High-bandwidth memory: stacks of DRAM beside the die.",
    "Knee": "The design of the front nearest to having the best of every objective at once, each "
    "scaled to its range on the front.",
    "KV cache": "Keys and values of the tokens so far, which attention reads for every new token.",
    "Loss": "Cross-entropy of the next token, in nats; the accuracy of benchmarks falls as it "
    "grows.",
    "MAC": "Multiply-accumulate, the operation of a matrix product.",
    "Maximum neuron norm": "A score that picks experts to be digital: the product over an expert's "
    "matrices of the largest norm of a neuron's weights.",
    "MVM": "Matrix-vector multiplication, what a tile does at a time.",
    "Nat": "Unit of information with the natural logarithm; 1 nat is 1.44 bits.",
    "Projection": "A technology or a size that no measured chip has shown.",
    "Range": "The ends of a result when every constant of the cost model moves to the ends of its "
    "published range, independent of each other.",
    "Reference": "A design that no search proposed, to compare with: all digital, all analog, and "
    "what the run names.",
    "Standard error": "Scatter of a simulated result over noise seeds and tokens; two results "
    "nearer than two standard errors of their difference are not ranked.",
    "Tier": "One layer of cells of a tile that is stacked in three dimensions; one works at a "
    "time.",
}

#: What single columns say, where a run does not describe them itself.
_COLUMNS = {
    "full_points": GLOSSARY["Accuracy against digital"],
    "full_loss_nats": "Loss that the noise adds in the full model.",
    "delta_loss_nats": "Loss that the noise adds, against the model without noise.",
    "accuracy": "Share of the simulated questions answered rightly.",
    "top1": "Share of tokens predicted rightly.",
    "energy_j_per_token": "Energy of the whole machine for one token, memory included.",
    "throughput_tokens_per_s": "Tokens of all sequences together in a second.",
    "latency_s_per_token": "Time of one token's way through the whole model.",
    "time_per_output_token_s": "Time between two tokens of one sequence.",
    "time_to_first_token_s": "Time until the first token of an answer, the prompt's included.",
    "area_mm2": "Area of all dies with tiles, accelerator and memory interfaces.",
    "power_w": "Energy of a token times throughput.",
    "cost_usd": "Cost of making one machine, dies, memory and package.",
    "tiers": GLOSSARY["Tier"],
    "digital_expert_fraction": "Share of the routed experts that are computed digitally.",
    "columns_per_adc": "Columns of a tile that share one converter, one after the other.",
    "placement_score": "How the digital experts were chosen.",
    "placement_scope": "Whether experts compete over all layers or within each.",
    "analog_modules": "Parts other than routed experts that are computed on tiles.",
    "utilisation": "Cells that hold weights, of the blocks in use.",
    "occupancy": "Cells that hold weights, of all tiles and tiers.",
    "concurrency": "Sequences that are served at the same time.",
    "beyond_source": "What of a design its technology's source has not shown.",
}  # fmt: skip


def help_text(spec: Column) -> str:
    """What a column says, as the run describes it or as known here; "" where neither does."""
    return spec.help or _COLUMNS.get(spec.name, "")


def glossary(columns: dict[str, Column]) -> list[tuple[str, str]]:
    """Words and what they mean, in the order of the alphabet; those of a run's columns included."""
    words = GLOSSARY | {spec.label: spec.help for spec in columns.values() if spec.help}
    return sorted(words.items(), key=lambda word: word[0].lower())
