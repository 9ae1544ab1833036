"""`tritongen list`."""

from __future__ import annotations

import click

from generator.commands.options import json_option, models_option


@click.command(name="list", short_help="Show the networks, counted and published.")
@models_option("Networks to list.")
@json_option
def command(*, models: tuple[str, ...], as_json: bool) -> None:
    """List the networks: parameters and FLOPs as counted, beside the published figures.

    \b
    Example:
      tritongen list --models 'dpn*'
    """
    from generator import console, networks
    from generator.networks.counts import count

    chosen = networks.select(models)
    rows = [(network, network.published, count(network)) for network in chosen]
    if as_json:
        import json

        records = [
            {
                "model": network.name,
                "title": network.title,
                "parameters": counts.parameters,
                "flops": counts.flops,
                "published_parameters_m": published.params_m,
                "published_flops_g": published.flops_g,
                "published_top1": published.top1,
                "published_top5": published.top5,
            }
            for network, published, counts in rows
        ]
        click.echo(json.dumps(records, indent=2))
        return
    console.out().print(
        console.table(
            ("Model", "Params M", "published", "FLOPs G", "published", "Top-1", "Top-5"),
            [
                (
                    network.name,
                    f"{counts.parameters / 1e6:.2f}",
                    f"{published.params_m:.2f}",
                    f"{counts.flops / 1e9:.2f}",
                    f"{published.flops_g:.2f}",
                    f"{published.top1:.3f}",
                    f"{published.top5:.3f}",
                )
                for network, published, counts in rows
            ],
        )
    )
    console.say(
        "\nFLOPs: two a multiply-add, one 224x224 image. Published: PaddleClas, whose counter of the time left out\n"
        "nearly all of a grouped convolution, so that it understates the DPNs; accuracy is of PaddleClas's weights.\n"
        "`tritongen build` gives random weights: latency is real, labels mean nothing."
    )
